# A builder.
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
  cfg = top.worker;
  user = "nix-build-pool";
  service = "nix-build-pool-worker";
  rootsDir = "/nix/var/nix/gcroots/nix-build-pool";
  toml = pkgs.formats.toml { };

  # A cache of files is signed by whoever writes it. To another daemon goes what ours has signed when it
  # built it: only a user whom it trusts could have it sign afterwards.
  signsAsItBuilds = cfg.cache.pushTo != null && lib.hasPrefix "ssh-ng:" cfg.cache.pushTo;

  # Nix reads the key's place off the store's URL.
  pushTo =
    cfg.cache.pushTo
    + lib.optionalString (cfg.cache.sshKeyFile != null) (
      (if lib.hasInfix "?" cfg.cache.pushTo then "&" else "?")
      + "ssh-key=${pool.credential service "ssh-key"}"
    );

  # The worker's own words for what the options say; `settings` may add and override.
  settings = lib.recursiveUpdate (pool.dropNulls {
    nats = if cfg.standalone then { } else pool.natsTable top service;
    worker = {
      inherit (cfg)
        name
        systems
        features
        slots
        ;
      state_dir = "/var/lib/${user}";
      drain_timeout = "${toString cfg.drainTimeout}s";
    }
    // lib.optionalAttrs (cfg.labels != { }) { inherit (cfg) labels; };
    roots.dir = rootsDir;
    roots.keep_generations = cfg.keepGenerations;
    telemetry = { inherit (cfg) listen; };
    roots.candidates_for = cfg.candidatesFor;
    cache = lib.optionalAttrs (cfg.cache.pushTo != null) (
      { push_to = pushTo; }
      // lib.optionalAttrs (!signsAsItBuilds) { sign_key_file = pool.credential service "sign-key"; }
    );
    repos = lib.mapAttrs (pool.repoTable service) top.repos;
  }) cfg.settings;

  raw = toml.generate "worker.toml" (lib.filterAttrs (_: table: table != { }) settings);

  # An error in the config is an error of the build, not of a service at three in the night.
  checked = pkgs.runCommand "worker-checked.toml" { nativeBuildInputs = [ top.package ]; } ''
    worker check-config ${raw}
    cp ${raw} $out
  '';

  command =
    if cfg.standalone then
      "standalone --config ${checked} --nats-server ${lib.getExe pkgs.nats-server}"
    else
      "run --config ${checked}";
in
{
  imports = [ ./common.nix ];

  options.services.nix-build-pool.worker = {
    enable = lib.mkEnableOption "a builder of the pool";

    standalone = mkOption {
      type = types.bool;
      default = false;
      description = "Run with a private broker on loopback: for one machine, without keys.";
    };
    name = mkOption {
      type = pool.token;
      default = config.networking.hostName;
      defaultText = lib.literalExpression "config.networking.hostName";
      description = "Its name, unique in the pool.";
    };
    nkeyFile = pool.mkSecret {
      type = types.nullOr pool.secretFile;
      default = null;
      example = "/run/secrets/nbp-worker.nk";
      description = "Seed of the worker's NKey, as `producer keys new worker NAME` makes it.";
    };
    systems = mkOption {
      type = types.nonEmptyListOf types.str;
      default = [ pkgs.stdenv.hostPlatform.system ];
      defaultText = lib.literalExpression "[ pkgs.stdenv.hostPlatform.system ]";
      description = "Systems that it builds for.";
    };
    features = mkOption {
      type = types.listOf types.str;
      default = [ ];
      example = [
        "kvm"
        "big-parallel"
      ];
      description = "System features that it has. The broker must have their classes (`producer setup --classes`).";
    };
    slots = mkOption {
      type = types.ints.positive;
      default = 2;
      description = "Builds at the same time.";
    };
    drainTimeout = mkOption {
      type = types.ints.unsigned;
      default = 600;
      description = ''
        Seconds that running builds have when the service is stopped or upgraded. What has not ended then
        goes back to the queue. An upgrade does not wait for it: the switch returns, the worker restarts
        when it is drained.
      '';
    };
    keepGenerations = mkOption {
      type = types.ints.positive;
      default = 3;
      description = "Builds of the tracked branch (`default_ref`) kept from the garbage collector, per repository and host.";
    };
    candidatesFor = mkOption {
      type = pool.duration;
      default = "7d";
      description = "How long builds of other branches are kept from it after they were last asked for. What has landed by then is kept as a build of the tracked branch.";
    };
    labels = mkOption {
      type = types.attrsOf types.str;
      default = lib.optionalAttrs (config.homelab.host.role or null != null) {
        role = config.homelab.host.role;
      };
      defaultText = lib.literalExpression "{ role = config.homelab.host.role; } where that is set";
      example.role = "build-host";
      description = "Labels of this worker in the registry and on its metrics.";
    };
    listen = mkOption {
      type = types.nullOr types.str;
      default = null;
      example = "127.0.0.1:9464";
      description = ''
        Address and port for Prometheus (`/metrics`) and probes (`/healthz`, `/readyz`). Whoever can connect can
        read it: open the port to the machine that scrapes, and to no other.
      '';
    };
    cache = {
      pushTo = mkOption {
        type = types.nullOr types.str;
        default = null;
        example = "ssh-ng://nix-build-pool-push@nix-cache01";
        description = "Store that gets every result. Leave it out where this machine's store is the cache.";
      };
      signKeyFile = pool.mkSecret {
        type = types.nullOr pool.secretFile;
        default = null;
        example = "/run/secrets/nix-sign-key";
        description = ''
          Key that signs what is pushed, as `nix key generate-secret` makes it. Where `pushTo` is an `ssh-ng` store,
          this machine's daemon gets it and signs all that it builds from then on.
        '';
      };
      sshKeyFile = pool.mkSecret {
        type = types.nullOr pool.secretFile;
        default = null;
        example = "/run/secrets/push-ssh-key";
        description = "SSH key for `pushTo`, where that is an `ssh-ng` store. The host's key goes into `programs.ssh.knownHosts`.";
      };
    };
    settings = mkOption {
      inherit (toml) type;
      default = { };
      example.limits.wall = "6h";
      description = ''
        Further keys of `worker.toml`, over what the options above say; `examples/config/worker.toml` has
        them all. They are checked when the system is built.
      '';
    };
    renderedSettings = mkOption {
      inherit (toml) type;
      internal = true;
      readOnly = true;
      default = lib.filterAttrs (_: table: table != { }) settings;
      description = "What ends up in `worker.toml`.";
    };
  };

  config = lib.mkIf cfg.enable (
    lib.mkMerge [
      (pool.staticUser user "/var/lib/${user}")
      {
        assertions = pool.poolAssertions "services.nix-build-pool.worker" top ++ [
          {
            assertion = cfg.standalone || cfg.nkeyFile != null;
            message = ''
              services.nix-build-pool.worker.nkeyFile is not set. Make a key with
                producer keys new worker ${cfg.name}
              put the seed on this machine as a secret, and name its file; or set `standalone = true`.
            '';
          }
          {
            assertion = (cfg.cache.pushTo == null) == (cfg.cache.signKeyFile == null);
            message = ''
              services.nix-build-pool.worker.cache needs both pushTo and signKeyFile, or neither: hosts take
              nothing from a cache that is not signed. Make a key with
                nix key generate-secret --key-name ${cfg.name}-1
            '';
          }
          {
            assertion = cfg.name != "";
            message = ''
              services.nix-build-pool.worker.name is empty, as is networking.hostName. Set one of them.
            '';
          }
          (pool.notInStore "services.nix-build-pool.worker.nkeyFile" cfg.nkeyFile)
          (pool.notInStore "services.nix-build-pool.worker.cache.signKeyFile" cfg.cache.signKeyFile)
          (pool.notInStore "services.nix-build-pool.worker.cache.sshKeyFile" cfg.cache.sshKeyFile)
        ];

        nix.settings = lib.mkIf signsAsItBuilds { secret-key-files = [ (toString cfg.cache.signKeyFile) ]; };

        systemd.tmpfiles.rules = [ "d ${rootsDir} 0755 ${user} ${user} -" ];

        systemd.services.${service} = lib.mkMerge [
          pool.clientService
          {
            description = "nix-build-pool worker";
            wantedBy = [ "multi-user.target" ];
            path = [
              config.nix.package
              pkgs.git
              pkgs.openssh
            ];
            environment = {
              HOME = "/var/lib/${user}";
            };
            # An upgrade must neither cut builds off nor keep the switch waiting for them: it reloads, and
            # the reload asks for a restart beside itself, which drains.
            reloadIfChanged = true;
            serviceConfig = import ./hardening.nix // {
              ExecStart = "${lib.getExe' top.package "worker"} ${command}";
              ExecReload = "+${lib.getExe' config.systemd.package "systemd-run"} --collect --on-active=1s ${lib.getExe' config.systemd.package "systemctl"} restart ${service}.service";
              User = user;
              Group = user;
              StateDirectory = user;
              StateDirectoryMode = "0750";
              ReadWritePaths = [ "-${rootsDir}" ];
              LoadCredential =
                lib.optional (!cfg.standalone) "nkey:${toString cfg.nkeyFile}"
                ++ lib.optional (cfg.cache.pushTo != null && !signsAsItBuilds) "sign-key:${toString cfg.cache.signKeyFile}"
                ++ lib.optional (cfg.cache.sshKeyFile != null) "ssh-key:${cfg.cache.sshKeyFile}"
                ++ pool.repoCredentials top.repos;
              Type = "notify";
              NotifyAccess = "main";
              # Fed by the event loop and by nothing else.
              WatchdogSec = 60;
              Restart = "always";
              RestartSec = 10;
              # One build that runs out of memory is a failed build, not a reason to end all others.
              OOMPolicy = "continue";
              # SIGTERM goes to the worker alone: in a control group it would end every build at once.
              KillMode = "mixed";
              KillSignal = "SIGTERM";
              SendSIGKILL = true;
              # Handing back what is left, and the last words.
              TimeoutStopSec = cfg.drainTimeout + 90;
            };
          }
        ];
      }
    ]
  );
}
