# The gate on a timer, where no Gitea workflow starts it: `gate run` on a calendar, `gate resume` every hour.
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
  cfg = top.gate;
  user = "nix-build-pool-gate";
  toml = pkgs.formats.toml { };

  settingsFor =
    service: run:
    lib.recursiveUpdate (pool.dropNulls {
      nats = pool.natsTable top service;
      repos = lib.mapAttrs (pool.repoTable service) top.repos;
      forge = {
        inherit (cfg.forge) url;
        repo = run.forgeRepo;
        token_file = pool.credential service "forge-token";
      };
      gate = lib.optionalAttrs (cfg.trustedWorkers != [ ]) { trusted_workers = cfg.trustedWorkers; };
      cache = lib.optionalAttrs (cfg.cache.url != null) {
        inherit (cfg.cache) url;
        public_key = cfg.cache.publicKey;
      };
    }) cfg.settings;

  filledFor = service: run: lib.filterAttrs (_: table: table != { }) (settingsFor service run);

  # The deadline is the gate's own; systemd's is only there for a gate that hangs.
  gateService =
    name: run: description: arguments:
    lib.mkMerge [
      pool.clientService
      {
        inherit description;
        path = [
          config.nix.package
          pkgs.git
          pkgs.openssh
        ];
        environment = {
          HOME = "/var/lib/${user}";
        }
        // lib.optionalAttrs (cfg.pushMetrics != null) { NBP_PUSH_METRICS = cfg.pushMetrics; };
        # A run that is under way is not ended by an upgrade; resume would take it up all the same.
        restartIfChanged = false;
        serviceConfig = import ./hardening.nix // {
          Type = "oneshot";
          ExecStart = "${lib.getExe' top.package "gate"} --config ${toml.generate "gate.toml" (filledFor name run)} ${lib.escapeShellArgs arguments}";
          # 1: an update that does not build is an answer. 4: it was cancelled. 3, undecided, is a failure.
          SuccessExitStatus = [
            1
            4
          ];
          User = user;
          Group = user;
          StateDirectory = user;
          StateDirectoryMode = "0750";
          LoadCredential = [
            "nkey:${toString cfg.nkeyFile}"
            "forge-token:${toString cfg.forge.tokenFile}"
          ]
          ++ pool.repoCredentials top.repos;
          TimeoutStartSec = "24h";
        };
      }
    ];

  runService = repo: "nix-build-pool-gate-run-${repo}";
  resumeService = repo: "nix-build-pool-gate-resume-${repo}";

  services = lib.concatMapAttrs (repo: run: {
    ${runService repo} = gateService (runService repo) run "nix-build-pool gate of ${repo}" (
      [
        "run"
        "--repo"
        repo
        "--deadline"
        run.deadline
      ]
      ++ lib.optionals (run.base != null) [
        "--base"
        run.base
      ]
    );
    ${resumeService repo} =
      gateService (resumeService repo) run "nix-build-pool gate of ${repo}: resume"
        [
          "resume"
          "--repo"
          repo
          "--deadline"
          run.deadline
        ];
  }) cfg.run;

  timer = description: calendar: {
    inherit description;
    wantedBy = [ "timers.target" ];
    timerConfig = {
      OnCalendar = calendar;
      RandomizedDelaySec = "5min";
      Persistent = true;
    };
  };

  runOptions.options = {
    forgeRepo = mkOption {
      type = types.strMatching "[^/ ]+/[^/ ]+";
      example = "infra/nixos-servers";
      description = "The repository as the forge names it: owner and name.";
    };
    base = mkOption {
      type = types.nullOr pool.branch;
      default = null;
      description = "The branch that is updated; null means the repository's `defaultRef`.";
    };
    calendar = mkOption {
      type = types.str;
      default = "Sun 03:00";
      description = "When, as `systemd.time(7)` has it.";
    };
    deadline = mkOption {
      type = pool.duration;
      default = "12h";
      description = "After this long the run is left undecided, for `gate resume` to take up.";
    };
  };
in
{
  imports = [ ./common.nix ];

  options.services.nix-build-pool.gate = {
    enable = lib.mkEnableOption "the gate on a timer";

    pushMetrics = mkOption {
      type = types.nullOr (types.strMatching "https?://[^@]+");
      default = null;
      example = "http://pushgateway.example.org:9091";
      description = ''
        Prometheus push gateway that is told how each run ended. It stands in the unit, which everybody can
        read, so it may hold no password.
      '';
    };
    nkeyFile = pool.mkSecret {
      type = types.nullOr pool.secretFile;
      default = null;
      example = "/run/secrets/nbp-gate.nk";
      description = "Seed of the gate's NKey.";
    };
    forge = {
      url = mkOption {
        type = types.strMatching "https?://.+";
        example = "https://git.example.org";
        description = "The Gitea or Forgejo that has the repositories.";
      };
      tokenFile = pool.mkSecret {
        type = types.nullOr pool.secretFile;
        default = null;
        example = "/run/secrets/nbp-forge-token";
        description = "Token of the bot user that pushes branches and opens pull requests.";
      };
    };
    cache = {
      url = mkOption {
        type = types.nullOr types.str;
        default = null;
        example = "http://nix-cache01.example.org:5000";
        description = "Where hosts get their closures from. With it, an update lands only when all of it is there.";
      };
      publicKey = mkOption {
        type = types.nullOr types.str;
        default = null;
        example = "nix-cache01-1:8qcHfKMG3tkqDG0Tn0mNYUbq1J1OV4cQGvnHcuQq4pI=";
        description = "The key that its paths must be signed by.";
      };
    };
    trustedWorkers = mkOption {
      type = types.listOf (types.strMatching "U[A-Z2-7]{55}");
      default = [ ];
      description = ''
        Public keys of the workers whose signed results count. Empty: the broker's permissions alone say who
        writes results.
      '';
    };
    run = mkOption {
      type = types.attrsOf (types.submodule runOptions);
      default = { };
      example = lib.literalExpression ''{ nixos-servers.forgeRepo = "infra/nixos-servers"; }'';
      description = "Repositories whose inputs are updated through the gate. `gate resume` runs every hour.";
    };
    settings = mkOption {
      inherit (toml) type;
      default = { };
      description = "Further keys of `gate.toml`.";
    };
    renderedSettings = mkOption {
      type = types.attrsOf toml.type;
      internal = true;
      readOnly = true;
      default = lib.mapAttrs (repo: run: filledFor (runService repo) run) cfg.run;
      description = "What ends up in the `gate.toml` of each `gate run`.";
    };
  };

  config = lib.mkIf cfg.enable (
    lib.mkMerge [
      (pool.staticUser user "/var/lib/${user}")
      {
        assertions =
          pool.poolAssertions "services.nix-build-pool.gate" top
          ++ [
            {
              assertion = cfg.nkeyFile != null;
              message = ''
                services.nix-build-pool.gate.nkeyFile is not set. Make a key with
                  producer keys new gate ${config.networking.hostName}
                put the seed on this machine as a secret, and name its file.
              '';
            }
            {
              assertion = cfg.forge.tokenFile != null;
              message = ''
                services.nix-build-pool.gate.forge.tokenFile is not set. Make a token for the bot user that may
                push to the branch (docs/setup.md says which scopes), and name the file that holds it.
              '';
            }
            (pool.notInStore "services.nix-build-pool.gate.nkeyFile" cfg.nkeyFile)
            (pool.notInStore "services.nix-build-pool.gate.forge.tokenFile" cfg.forge.tokenFile)
          ]
          ++ lib.mapAttrsToList (repo: _: {
            assertion = top.repos ? ${repo};
            message = ''
              services.nix-build-pool.gate.run.${repo} is no repository of services.nix-build-pool.repos, which
              has: ${lib.concatStringsSep ", " (lib.attrNames top.repos)}. Add it there, or correct the name.
            '';
          }) cfg.run
          ++ lib.mapAttrsToList (repo: _: {
            assertion =
              !(top.repos ? ${repo})
              || lib.any (ref: ref == "*" || lib.hasPrefix "flake-update/" ref) top.repos.${repo}.refs;
            message = ''
              The gate pushes updates of ${repo} to flake-update/…, which its builders refuse. Set
                services.nix-build-pool.repos.${repo}.refs = [ "${top.repos.${repo}.defaultRef}" "flake-update/*" ];
            '';
          }) cfg.run;

        systemd.services = services;
        systemd.timers = lib.concatMapAttrs (repo: run: {
          ${runService repo} = timer "nix-build-pool gate of ${repo}, on its calendar" run.calendar;
          ${resumeService repo} = timer "nix-build-pool gate of ${repo}: resume, every hour" "hourly";
        }) cfg.run;
      }
    ]
  );
}
