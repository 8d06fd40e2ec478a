# The page: `producer dashboard` with the key of a reader.
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
  cfg = top.dashboard;
  service = "nix-build-pool-dashboard";
  user = "nix-build-pool-page";
  toml = pkgs.formats.toml { };
  settings.nats = pool.natsTable top service;
in
{
  imports = [ ./common.nix ];

  options.services.nix-build-pool.dashboard = {
    enable = lib.mkEnableOption ''
      the page. It asks nobody who they are: whoever reaches its address reads logs and host names'';

    nkeyFile = pool.mkSecret {
      type = types.nullOr pool.secretFile;
      default = null;
      example = "/run/secrets/nbp-reader.nk";
      description = "Seed of the reader's NKey.";
    };
    listen = mkOption {
      type = types.strMatching "[0-9.]+:[0-9]+|\\[[0-9a-f:]+]:[0-9]+" // {
        description = "IP address and port";
      };
      default = "127.0.0.1:8088";
      description = "Where it listens. Put a reverse proxy with a login before it rather than another address here.";
    };
    names = mkOption {
      type = types.listOf (
        types.strMatching "[A-Za-z0-9][A-Za-z0-9.-]*" // { description = "name of a host"; }
      );
      default = [ ];
      example = [ "builds.example.org" ];
      description = "Names that browsers ask by. Addresses and localhost always work.";
    };
    renderedSettings = mkOption {
      type = toml.type;
      internal = true;
      readOnly = true;
      default = settings;
      description = "What ends up in the `producer.toml` of the service.";
    };
  };

  config = lib.mkIf cfg.enable {
    assertions = [
      {
        assertion = cfg.nkeyFile != null;
        message = ''
          services.nix-build-pool.dashboard.nkeyFile is not set. Make a key with
            producer keys new reader ${config.networking.hostName}
          put the seed on this machine as a secret, and name its file.
        '';
      }
      (pool.notInStore "services.nix-build-pool.dashboard.nkeyFile" cfg.nkeyFile)
    ];

    # It calls no Nix, so its user is none of Nix's.
    users.users.${user} = {
      isSystemUser = true;
      group = user;
      description = "nix-build-pool page";
    };
    users.groups.${user} = { };

    systemd.services.${service} = {
      description = "nix-build-pool page";
      wantedBy = [ "multi-user.target" ];
      wants = [ "network-online.target" ];
      after = [ "network-online.target" ];
      serviceConfig = import ./hardening.nix // {
        ExecStart = lib.escapeShellArgs (
          [
            (lib.getExe' top.package "producer")
            "--config"
            "${toml.generate "producer.toml" settings}"
            "dashboard"
            "--listen"
            cfg.listen
          ]
          ++ lib.concatMap (name: [
            "--name"
            name
          ]) cfg.names
        );
        User = user;
        Group = user;
        LoadCredential = [ "nkey:${toString cfg.nkeyFile}" ];
        # A broker that is away at the start ends it; one that goes away later does not.
        Restart = "always";
        RestartSec = "10s";
        MemoryMax = "512M";
      };
    };
  };
}
