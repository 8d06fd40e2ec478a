# Evaluates every module with nixpkgs' lib, as data for scripts/check-nix:
#   nix-instantiate --eval --strict --json deploy/nixos/tests/evaluate.nix --arg lib 'import …/lib'
# Each case says which assertions fail; `said` holds what the good configurations come to.
{ lib }:
let
  stubs = import ./stubs.nix { inherit lib; };
  modules = {
    broker = ../broker.nix;
    worker = ../worker.nix;
    producer = ../producer.nix;
    gate = ../gate.nix;
    dashboard = ../dashboard.nix;
    cache = ../cache.nix;
  };

  evaluate =
    harmonia: extra:
    lib.evalModules {
      modules =
        lib.attrValues modules
        ++ [
          stubs.nixos
          harmonia
          { _module.args.pkgs = stubs.pkgs; }
        ]
        ++ extra;
    };

  # Everything that NixOS would look at, forced.
  configOf =
    evaluated:
    let
      inherit (evaluated) config;
    in
    {
      failed = map (it: it.message) (lib.filter (it: !it.assertion) config.assertions);
      inherit (config) users;
      inherit (config.systemd) services timers;
      tmpfiles = config.systemd.tmpfiles.rules;
      nix = config.nix.settings;
      ports = config.networking.firewall.allowedTCPPorts;
      etc = config.environment.etc;
      harmonia = config.services.harmonia;
      rendered = lib.mapAttrs (_: it: it.renderedSettings) (
        lib.filterAttrs (_: it: it.enable or false && it ? renderedSettings) config.services.nix-build-pool
      );
    };

  public = "UCJCDU3VFLMNE55S4W5BOCTJNLE3HQU2M2UZQI6DO73F7SKKUWPX6N57";
  inStore = "${builtins.storeDir}/00000000000000000000000000000000-secret";

  pool.services.nix-build-pool = {
    nats.url = "tls://nats1.example.org:4222";
    nats.caFile = "/etc/nix-build-pool/ca.pem";
    repos.nixos-servers = {
      url = "https://git.example.org/infra/nixos-servers.git";
      refs = [
        "master"
        "flake-update/*"
      ];
      exclude = [ "installer*" ];
      hosts.pi4.class = "aarch64-linux";
      hosts.vm-host.features = [ "kvm" ];
      gitCredentialsFile = "/run/secrets/git";
    };
    repos.nixos.url = "https://git.example.org/infra/nixos.git";
  };
  worker.services.nix-build-pool.worker = {
    enable = true;
    nkeyFile = "/run/secrets/worker.nk";
    features = [ "kvm" ];
    slots = 4;
    drainTimeout = 300;
    listen = "127.0.0.1:9464";
    settings.limits.wall = "6h";
  };
  producer.services.nix-build-pool.producer = {
    enable = true;
    nkeyFile = "/run/secrets/submitter.nk";
    submit.nixos-servers.exclude = [ "test-[0-9]*" ];
    submit.nixos = {
      calendar = "hourly";
      priority = "normal";
    };
    warmUp.enable = true;
  };
  gate.services.nix-build-pool.gate = {
    enable = true;
    nkeyFile = "/run/secrets/gate.nk";
    forge.url = "https://git.example.org";
    forge.tokenFile = "/run/secrets/forge-token";
    cache.url = "http://nix-cache01:5000";
    pushMetrics = "http://pushgateway.example.org:9091";
    trustedWorkers = [ public ];
    run.nixos-servers.forgeRepo = "infra/nixos-servers";
  };
  broker.services.nix-build-pool.broker = {
    enable = true;
    host = "0.0.0.0";
    openFirewall = true;
    tls.certFile = "/var/lib/acme/nats1/fullchain.pem";
    tls.keyFile = "/var/lib/acme/nats1/key.pem";
    keys.admin = {
      role = "admin";
      inherit public;
    };
    keys.nix-cache01 = {
      role = "worker";
      public = "UBJFUW3RPSYTLAWJTFPHT3RM7IPCF7FT52TKO7N74ETCSYUTR2VFYET3";
      classes = [ "x86_64-linux" ];
    };
  };
  dashboard.services.nix-build-pool.dashboard = {
    enable = true;
    nkeyFile = "/run/secrets/reader.nk";
    names = [ "builds.example.org" ];
  };
  cache.services.nix-build-pool.cache = {
    enable = true;
    signKeyFile = "/run/secrets/cache-key";
    openFirewall = true;
    push.sshKeys = [ "ssh-ed25519 AAAA builder02" ];
    push.signingKeys = [ "builder02-1:8qcHfKMG3tkqDG0Tn0mNYUbq1J1OV4cQGvnHcuQq4pI=" ];
  };

  whole = [
    pool
    worker
    producer
    gate
    broker
    dashboard
    cache
  ];

  # A good configuration with one thing wrong, and a word of the message that must come of it.
  set = path: value: lib.setAttrByPath ([ "services" "nix-build-pool" ] ++ path) (lib.mkForce value);
  wrong = {
    no-repository = [ [ "repos" ] { } "there is no repository" ];
    repository-name-with-a-slash = [ [ "repos" ] { "a/b".url = "/srv/a"; } "its URL stands in `url`" ];
    worker-without-a-key = [ [ "worker" "nkeyFile" ] null "producer keys new worker nix-cache01" ];
    worker-key-in-the-store = [ [ "worker" "nkeyFile" ] inStore "everybody on this machine can read" ];
    git-credentials-in-the-store = [
      [ "repos" "nixos" "gitCredentialsFile" ]
      inStore
      "repos.nixos.gitCredentialsFile"
    ];
    push-without-a-signature = [ [ "worker" "cache" "pushTo" ] "ssh-ng://cache" "needs both pushTo and signKeyFile" ];
    submit-without-a-key = [ [ "producer" "nkeyFile" ] null "producer keys new submitter" ];
    submit-key-in-the-store = [ [ "producer" "nkeyFile" ] inStore "everybody on this machine can read" ];
    submit-of-an-unknown-repository = [ [ "producer" "submit" ] { other = { }; } "submit.other is no repository" ];
    warm-up-of-nothing = [ [ "producer" "submit" ] { } "warmUp has nothing to build" ];
    gate-without-a-key = [ [ "gate" "nkeyFile" ] null "producer keys new gate" ];
    gate-without-a-token = [ [ "gate" "forge" "tokenFile" ] null "bot user" ];
    gate-token-in-the-store = [ [ "gate" "forge" "tokenFile" ] inStore "everybody on this machine can read" ];
    gate-of-an-unknown-repository = [ [ "gate" "run" ] { other.forgeRepo = "a/b"; } "gate.run.other is no repository" ];
    gate-whose-branches-are-refused = [ [ "gate" "run" ] { nixos.forgeRepo = "a/b"; } "flake-update/" ];
    broker-in-plain-text = [
      [ "broker" "tls" ]
      {
        certFile = null;
        keyFile = null;
      }
      "without TLS"
    ];
    broker-with-half-of-tls = [ [ "broker" "tls" "keyFile" ] null "needs both certFile and keyFile" ];
    broker-without-an-admin = [
      [ "broker" "keys" ]
      {
        a = {
          role = "reader";
          inherit public;
        };
      }
      "has no admin"
    ];
    broker-whose-worker-has-no-classes = [ [ "broker" "keys" "nix-cache01" "classes" ] null "a worker needs `classes`" ];
    broker-key-in-the-store = [ [ "broker" "tls" "keyFile" ] inStore "everybody on this machine can read" ];
    page-without-a-key = [ [ "dashboard" "nkeyFile" ] null "producer keys new reader" ];
    page-key-in-the-store = [ [ "dashboard" "nkeyFile" ] inStore "everybody on this machine can read" ];
    cache-without-a-key = [ [ "cache" "signKeyFile" ] null "cache.signKeyFile is not set" ];
    cache-key-in-the-store = [ [ "cache" "signKeyFile" ] inStore "everybody on this machine can read" ];
    cache-that-refuses-pushes = [ [ "cache" "push" "signingKeys" ] [ ] "needs both sshKeys and signingKeys" ];
    cache-whose-limits-cross = [ [ "cache" "freeSpace" "max" ] 1 "freeSpace.max is less than min" ];
  };

  # Values that no option takes: their evaluation must fail.
  refused = {
    secret-as-a-path = [ [ "worker" "nkeyFile" ] ./stubs.nix ];
    worker-name-with-a-dot = [ [ "worker" "name" ] "a.b" ];
    no-slots = [ [ "worker" "slots" ] 0 ];
    no-systems = [ [ "worker" "systems" ] [ ] ];
    unknown-role = [ [ "broker" "keys" "admin" "role" ] "root" ];
    seed-for-a-public-key = [ [ "broker" "keys" "admin" "public" ] "SUACSSL3UAHUDXKFSNVUZRF5UHPMWZ6BFDTJ7M6USDXIEDNPPQYYYCU3VY" ];
    exclude-that-a-shell-reads = [ [ "producer" "submit" "nixos" "exclude" ] [ "it's" ] ];
    exclude-that-systemd-reads = [ [ "producer" "submit" "nixos" "exclude" ] [ "100%" ] ];
    branch-that-is-an-option = [ [ "producer" "submit" "nixos" "ref" ] "--all" ];
    forge-repository-without-an-owner = [ [ "gate" "run" "nixos-servers" "forgeRepo" ] "nixos-servers" ];
    deadline-without-a-unit = [ [ "gate" "run" "nixos-servers" "deadline" ] "12" ];
    unknown-priority = [ [ "producer" "submit" "nixos" "priority" ] "urgent" ];
    page-name-that-systemd-reads = [ [ "dashboard" "names" ] [ "%h" ] ];
    page-without-an-address = [ [ "dashboard" "listen" ] "localhost:8088" ];
    unknown-option = [ [ "worker" "slot" ] 3 ];
    five-replicas = [ [ "broker" "replicas" ] 5 ];
  };

  strict = config: builtins.deepSeq (builtins.toJSON config) config;

  documentation =
    let
      ours = lib.filter (
        it: lib.hasPrefix "services.nix-build-pool." it.name && it.visible && !it.internal
      ) (lib.optionAttrSetToDocList (evaluate stubs.harmonia.new whole).options);
    in
    map (it: {
      inherit (it) name type;
      description = it.description or "";
    }) ours;

  # The flake's outputs, with as much of nixpkgs as there is.
  flake = (import ../../../flake.nix).outputs {
    self = flake // {
      outPath = ../../..;
    };
    nixpkgs = {
      inherit lib;
      outPath = "/nixpkgs";
      legacyPackages = lib.genAttrs [ "x86_64-linux" "aarch64-linux" ] (_: { });
    };
  };
in
{
  flake = {
    outputs = lib.attrNames flake;
    modules = lib.attrNames flake.nixosModules;
    # Through the flake, with its package.
    evaluates =
      (lib.evalModules {
        modules = [
          flake.nixosModules.default
          flake.nixosModules.homelab
          stubs.nixos
          stubs.harmonia.new
          { _module.args.pkgs = stubs.pkgs; }
        ];
      }).config.assertions;
  };
  good = strict (configOf (evaluate stubs.harmonia.new whole));
  old-harmonia = (configOf (evaluate stubs.harmonia.old whole)).harmonia;
  # Nothing is enabled by importing.
  off = strict (configOf (evaluate stubs.harmonia.new [ ]));
  standalone = strict (
    configOf (
      evaluate stubs.harmonia.new [
        pool
        {
          services.nix-build-pool.worker = {
            enable = true;
            standalone = true;
          };
        }
      ]
    )
  );
  # A builder whose store is not the cache.
  pushing = strict (
    configOf (
      evaluate stubs.harmonia.new [
        pool
        worker
        {
          services.nix-build-pool.worker.cache = {
            pushTo = "ssh-ng://nix-build-pool-push@nix-cache01";
            signKeyFile = "/run/secrets/sign";
            sshKeyFile = "/run/secrets/ssh";
          };
        }
      ]
    )
  );
  # The label of the fleet's own option, and of ours where there is none.
  labelled =
    (configOf (
      evaluate stubs.harmonia.new [
        ../homelab.nix
        pool
        worker
        { homelab.host.role = "build-host"; }
      ]
    )).rendered.worker;
  wrong = lib.mapAttrs (_: it: {
    wanted = lib.elemAt it 2;
    failed =
      (configOf (
        evaluate stubs.harmonia.new (whole ++ [ (set (lib.elemAt it 0) (lib.elemAt it 1)) ])
      )).failed;
  }) wrong;
  refused = lib.mapAttrs (
    _: it:
    !(builtins.tryEval (
      strict (
        configOf (evaluate stubs.harmonia.new (whole ++ [ (set (lib.elemAt it 0) (lib.elemAt it 1)) ]))
      )
    )).success
  ) refused;
  inherit documentation;
}
