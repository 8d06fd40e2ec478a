# Asking for builds: `producer` on the path, submits on a timer (what the old 30-minute script did), and
# the warm-up of a cold cache.
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
  cfg = top.producer;
  user = "nix-build-pool-submit";
  toml = pkgs.formats.toml { };

  settingsFor =
    service:
    lib.recursiveUpdate (pool.dropNulls {
      nats = pool.natsTable top service;
      repos = lib.mapAttrs (pool.repoTable service) top.repos;
    }) cfg.settings;
  configFor = service: toml.generate "producer.toml" (settingsFor service);

  # For people at a shell: they have keys of their own, and name them by NATS_NKEY.
  forPeople = toml.generate "producer.toml" (
    pool.dropNulls {
      nats = lib.filterAttrs (name: _: name != "nkey_file") (pool.natsTable top "none");
      repos = lib.mapAttrs (
        _: repo: removeAttrs repo [ "git_credentials_file" ]
      ) (lib.mapAttrs (pool.repoTable "none") top.repos);
    }
  );

  arguments =
    repo: submit:
    lib.escapeShellArgs (
      [
        "submit"
        "--repo"
        repo
        "--all"
        "--ref"
        submit.ref
        "--priority"
        submit.priority
        "--supersede"
      ]
      ++ lib.concatMap (glob: [
        "--exclude"
        glob
      ]) submit.exclude
    );

  submitService =
    name: description: service:
    lib.mkMerge [
      pool.clientService
      {
        inherit description;
        path = [
          config.nix.package
          pkgs.git
          pkgs.openssh
        ];
        environment.HOME = "/var/cache/${user}";
        serviceConfig = import ./hardening.nix // {
          Type = "oneshot";
          User = user;
          Group = user;
          CacheDirectory = user;
          CacheDirectoryMode = "0750";
          LoadCredential = [ "nkey:${toString cfg.nkeyFile}" ] ++ pool.repoCredentials top.repos;
        };
      }
      service
    ];

  producer = service: "${lib.getExe' top.package "producer"} --config ${configFor service}";

  submits = lib.mapAttrs' (
    repo: submit:
    let
      service = "nix-build-pool-submit-${repo}";
    in
    lib.nameValuePair service (
      submitService service "nix-build-pool submit of ${repo}" {
        serviceConfig.ExecStart = "${producer service} ${arguments repo submit}";
        # Reading a flake of a hundred hosts takes minutes, not hours.
        serviceConfig.TimeoutStartSec = "30min";
      }
    )
  ) cfg.submit;

  warmUps = lib.mapAttrs' (
    repo: submit:
    let
      service = "nix-build-pool-warm-up-${repo}";
      done = "/var/lib/${user}/warm-${repo}";
    in
    lib.nameValuePair service (
      submitService service "nix-build-pool warm-up of a cold cache with ${repo}" {
        # Once: delete the file to do it again.
        unitConfig.ConditionPathExists = "!${done}";
        serviceConfig = {
          StateDirectory = user;
          StateDirectoryMode = "0750";
          ExecStart = "${producer service} ${
            arguments repo (submit // { priority = "low"; })
          } --wait --timeout ${cfg.warmUp.timeout}";
          ExecStartPost = "${lib.getExe' pkgs.coreutils "touch"} ${done}";
          # 1: a host that does not build leaves the cache as warm as it gets.
          SuccessExitStatus = 1;
          TimeoutStartSec = "infinity";
          Restart = "on-failure";
          RestartSec = "10min";
        };
      }
    )
  ) cfg.submit;

  # By a timer, also the warm-up: neither a boot nor a switch waits for what a timer starts.
  warmUpTimers = lib.mapAttrs' (
    repo: _:
    lib.nameValuePair "nix-build-pool-warm-up-${repo}" {
      description = "nix-build-pool warm-up of a cold cache with ${repo}, once";
      wantedBy = [ "timers.target" ];
      timerConfig.OnActiveSec = "1min";
    }
  ) cfg.submit;

  timers = lib.mapAttrs' (
    repo: submit:
    lib.nameValuePair "nix-build-pool-submit-${repo}" {
      description = "nix-build-pool submit of ${repo}, on its calendar";
      wantedBy = [ "timers.target" ];
      timerConfig = {
        OnCalendar = submit.calendar;
        RandomizedDelaySec = submit.randomizedDelay;
        # What was missed while the machine was off is asked for once.
        Persistent = true;
      };
    }
  ) cfg.submit;

  submitOptions = {
    options = {
      ref = mkOption {
        type = pool.branch;
        default = "master";
        description = "The branch whose hosts are asked for.";
      };
      calendar = mkOption {
        type = types.str;
        default = "*:00/30";
        description = "When, as `systemd.time(7)` has it. What is built already costs nothing to ask for.";
      };
      randomizedDelay = mkOption {
        type = types.str;
        default = "5min";
        description = "Up to how much later, so that not everything starts at once.";
      };
      priority = mkOption {
        type = types.enum [
          "high"
          "normal"
          "low"
        ];
        default = "low";
        description = "Before or after what else waits in the queue.";
      };
      exclude = mkOption {
        type = types.listOf pool.hostGlob;
        default = [ ];
        description = "Hosts, as globs, that this submit leaves out.";
      };
    };
  };
in
{
  imports = [ ./common.nix ];

  options.services.nix-build-pool.producer = {
    enable = lib.mkEnableOption "asking for builds from this machine";

    nkeyFile = pool.mkSecret {
      type = types.nullOr pool.secretFile;
      default = null;
      example = "/run/secrets/nbp-submitter.nk";
      description = "Seed of the submitter's NKey, for the timers.";
    };
    submit = mkOption {
      type = types.attrsOf (types.submodule submitOptions);
      default = { };
      example = lib.literalExpression "{ nixos-servers = { }; nixos.ref = \"main\"; }";
      description = "Repositories whose hosts are all asked for on a calendar.";
    };
    warmUp = {
      enable = lib.mkEnableOption ''
        building all of `submit` once, at low priority, when this machine has not done so yet: for a cache
        whose disk is new'';
      timeout = mkOption {
        type = pool.duration;
        default = "48h";
        description = "How long the warm-up waits for its builds before it tries again.";
      };
    };
    settings = mkOption {
      inherit (toml) type;
      default = { };
      description = "Further keys of `producer.toml`.";
    };
    renderedSettings = mkOption {
      type = types.attrsOf toml.type;
      internal = true;
      readOnly = true;
      default = lib.mapAttrs (name: _: settingsFor name) (submits // warmUps);
      description = "What ends up in the `producer.toml` of each service.";
    };
  };

  config = lib.mkIf cfg.enable (
    lib.mkMerge [
      (pool.staticUser user "/var/cache/${user}")
      {
        assertions =
          pool.poolAssertions "services.nix-build-pool.producer" top
          ++ [
            {
              assertion = cfg.submit == { } || cfg.nkeyFile != null;
              message = ''
                services.nix-build-pool.producer.nkeyFile is not set, but submits are. Make a key with
                  producer keys new submitter ${config.networking.hostName}
                put the seed on this machine as a secret, and name its file.
              '';
            }
            {
              assertion = !cfg.warmUp.enable || cfg.submit != { };
              message = ''
                services.nix-build-pool.producer.warmUp has nothing to build. Name what to build in
                services.nix-build-pool.producer.submit.
              '';
            }
            (pool.notInStore "services.nix-build-pool.producer.nkeyFile" cfg.nkeyFile)
          ]
          ++ lib.mapAttrsToList (repo: _: {
            assertion = top.repos ? ${repo};
            message = ''
              services.nix-build-pool.producer.submit.${repo} is no repository of services.nix-build-pool.repos,
              which has: ${lib.concatStringsSep ", " (lib.attrNames top.repos)}. Add it there, or correct the name.
            '';
          }) cfg.submit;

        environment.systemPackages = [ top.package ];
        environment.etc."nix-build-pool/producer.toml".source = forPeople;
        environment.variables.NBP_CONFIG = "/etc/nix-build-pool/producer.toml";

        systemd.services = submits // warmUps;
        systemd.timers = timers // lib.optionalAttrs cfg.warmUp.enable warmUpTimers;
      }
    ]
  );
}
