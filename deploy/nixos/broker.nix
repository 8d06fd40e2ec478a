# The broker: one nats-server whose config is rendered, when the system is built, from the public keys of all
# who may connect (`producer setup --print-nats-config`). No secret passes through Nix.
{
  config,
  lib,
  pkgs,
  ...
}:
let
  inherit (lib) mkOption types;
  pool = import ./lib.nix { inherit lib; };
  top = config.services.nix-build-pool;
  cfg = top.broker;
  service = "nix-build-pool-broker";
  user = "nix-build-pool-broker";
  dataDir = "/var/lib/${user}";
  toml = pkgs.formats.toml { };

  keysFile = lib.recursiveUpdate {
    server = {
      inherit (cfg) name;
      listen = "${cfg.host}:${toString cfg.port}";
      monitor = "127.0.0.1:${toString cfg.monitorPort}";
      store_dir = dataDir;
      store_max = cfg.storeMax;
    }
    // lib.optionalAttrs (cfg.tls.certFile != null) {
      tls = {
        cert_file = pool.credential service "tls-cert";
        key_file = pool.credential service "tls-key";
      };
    };
    keys = lib.mapAttrs (_: pool.dropNulls) cfg.keys;
  } cfg.settings;

  conf =
    pkgs.runCommand "nats.conf"
      {
        nativeBuildInputs = [ top.package ];
      }
      ''
        producer setup --print-nats-config --replicas ${toString cfg.replicas} \
          --keys ${toml.generate "keys.toml" keysFile} >$out
      '';

  loopback = lib.elem cfg.host [
    "127.0.0.1"
    "::1"
    "localhost"
  ];

  keyOptions.options = {
    role = mkOption {
      type = types.enum [
        "submitter"
        "worker"
        "gate"
        "reader"
        "operator"
        "admin"
      ];
      description = "What the holder may do: docs/security.md has the list.";
    };
    public = mkOption {
      type = types.strMatching "U[A-Z2-7]{55}";
      description = "The public key, as `producer keys new` prints it.";
    };
    classes = mkOption {
      type = types.nullOr (types.nonEmptyListOf types.str);
      default = null;
      example = [ "x86_64-linux" ];
      description = "Of a worker: the classes whose jobs it may take.";
    };
  };
in
{
  imports = [ ./common.nix ];

  options.services.nix-build-pool.broker = {
    enable = lib.mkEnableOption "the broker of the pool";

    name = mkOption {
      type = pool.token;
      default = config.networking.hostName;
      defaultText = lib.literalExpression "config.networking.hostName";
      description = "Name of this server, unique in a cluster.";
    };
    host = mkOption {
      type = types.str;
      default = "127.0.0.1";
      example = "0.0.0.0";
      description = "Address that it listens on. Anything but loopback needs `tls`.";
    };
    port = mkOption {
      type = types.port;
      default = 4222;
      description = "Port for clients.";
    };
    monitorPort = mkOption {
      type = types.port;
      default = 8222;
      description = "Loopback port of `/healthz`, `/varz` and `/jsz`. It has no login.";
    };
    openFirewall = mkOption {
      type = types.bool;
      default = false;
      description = "Whether to open `port`. The monitoring port is never opened.";
    };
    storeMax = mkOption {
      type = types.str;
      default = "16GiB";
      description = "Most that all streams together may take on disk.";
    };
    replicas = mkOption {
      type = types.enum [
        1
        3
      ];
      default = 1;
      description = "Copies of every stream: 3 in a cluster of three servers. It sizes the account's limits.";
    };
    tls = {
      certFile = mkOption {
        type = types.nullOr pool.secretFile;
        default = null;
        example = "/var/lib/acme/nats1.example.org/fullchain.pem";
        description = "Certificate of this server, PEM.";
      };
      keyFile = pool.mkSecret {
        type = types.nullOr pool.secretFile;
        default = null;
        example = "/var/lib/acme/nats1.example.org/key.pem";
        description = "Key of the certificate, PEM.";
      };
    };
    keys = mkOption {
      type = types.attrsOf (types.submodule keyOptions);
      default = { };
      example = lib.literalExpression ''{ admin = { role = "admin"; public = "U…"; }; }'';
      description = "Who may connect. A worker's entry has the worker's name.";
    };
    settings = mkOption {
      inherit (toml) type;
      default = { };
      example = lib.literalExpression ''{ server.cluster = { name = "nbp"; listen = "0.0.0.0:6222"; routes = [ ]; }; }'';
      description = "Further keys of the keys file, e.g. for a cluster or leaves: see `deploy/nats`.";
    };
    renderedSettings = mkOption {
      inherit (toml) type;
      internal = true;
      readOnly = true;
      default = keysFile;
      description = "What `producer setup --print-nats-config` gets.";
    };
  };

  config = lib.mkIf cfg.enable {
    assertions = [
      {
        assertion = loopback || cfg.tls.certFile != null;
        message = ''
          services.nix-build-pool.broker listens on ${cfg.host} without TLS. Set tls.certFile and tls.keyFile, or
          host = "127.0.0.1".
        '';
      }
      {
        assertion = (cfg.tls.certFile == null) == (cfg.tls.keyFile == null);
        message = ''
          services.nix-build-pool.broker.tls needs both certFile and keyFile.
        '';
      }
      {
        assertion = lib.any (key: key.role == "admin") (lib.attrValues cfg.keys);
        message = ''
          services.nix-build-pool.broker.keys has no admin, so nobody could run `producer setup`. Make one with
            producer keys new admin admin
          and add services.nix-build-pool.broker.keys.admin = { role = "admin"; public = "U…"; };
        '';
      }
      (pool.notInStore "services.nix-build-pool.broker.tls.keyFile" cfg.tls.keyFile)
    ]
    ++ lib.mapAttrsToList (name: key: {
      assertion = (key.role == "worker") == (key.classes != null);
      message = ''
        services.nix-build-pool.broker.keys.${name}: a worker needs `classes`, e.g. [ "x86_64-linux" ], and nobody
        else has any.
      '';
    }) cfg.keys;

    users.users.${user} = {
      isSystemUser = true;
      group = user;
      home = dataDir;
      description = "nix-build-pool broker";
    };
    users.groups.${user} = { };
    networking.firewall.allowedTCPPorts = lib.optional cfg.openFirewall cfg.port;

    systemd.services.${service} = {
      description = "nix-build-pool broker";
      wantedBy = [ "multi-user.target" ];
      wants = [ "network-online.target" ];
      after = [ "network-online.target" ];
      # Keys come and go by a reload, which clients do not notice. A new server comes by a restart.
      reloadTriggers = [ conf ];
      serviceConfig = import ./hardening.nix // {
        ExecStart = "${lib.getExe pkgs.nats-server} -c /etc/nix-build-pool/nats.conf";
        ExecReload = "${lib.getExe' pkgs.coreutils "kill"} -HUP $MAINPID";
        User = user;
        Group = user;
        StateDirectory = user;
        StateDirectoryMode = "0750";
        LoadCredential = lib.optionals (cfg.tls.certFile != null) [
          "tls-cert:${cfg.tls.certFile}"
          "tls-key:${toString cfg.tls.keyFile}"
        ];
        # Lame duck: clients are sent to other servers first. It takes up to two minutes.
        KillSignal = "SIGUSR2";
        KillMode = "mixed";
        TimeoutStopSec = 150;
        Restart = "always";
        RestartSec = 2;
        LimitNOFILE = 65536;
      };
    };

    # By its path in /etc, so that a reload reads the new one.
    environment.etc."nix-build-pool/nats.conf".source = conf;
  };
}
