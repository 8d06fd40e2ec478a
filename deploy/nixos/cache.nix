# The binary cache: Harmonia over this machine's store, signed as it is served, and a door for other builders
# that push into it.
{
  config,
  lib,
  options,
  ...
}:
let
  inherit (lib) mkOption types;
  pool = import ./lib.nix { inherit lib; };
  cfg = config.services.nix-build-pool.cache;
  pusher = "nix-build-pool-push";

  harmonia = {
    enable = true;
    signKeyPaths = [ cfg.signKeyFile ];
    settings = {
      bind = "${cfg.host}:${toString cfg.port}";
      inherit (cfg) priority;
    };
  };
in
{
  options.services.nix-build-pool.cache = {
    enable = lib.mkEnableOption "serving this machine's store as a binary cache";

    signKeyFile = pool.mkSecret {
      type = types.nullOr pool.secretFile;
      default = null;
      example = "/run/secrets/cache-key";
      description = "Key that signs what is served, as `nix key generate-secret --key-name cache.example.org-1` makes it.";
    };
    host = mkOption {
      type = types.str;
      default = "[::]";
      description = "Address that it listens on. What it serves is public to whoever reaches it.";
    };
    port = mkOption {
      type = types.port;
      default = 5000;
      description = "Port that it listens on.";
    };
    openFirewall = mkOption {
      type = types.bool;
      default = false;
      description = "Whether to open `port`.";
    };
    priority = mkOption {
      type = types.ints.positive;
      default = 30;
      description = "Lower is asked first; cache.nixos.org has 40.";
    };
    freeSpace = {
      min = mkOption {
        type = types.ints.unsigned;
        default = 10 * 1024 * 1024 * 1024;
        description = "Bytes: Nix collects garbage during a build when less is free. What is rooted stays.";
      };
      max = mkOption {
        type = types.ints.unsigned;
        default = 40 * 1024 * 1024 * 1024;
        description = "Bytes: it stops collecting when this much is free.";
      };
    };
    push = {
      sshKeys = mkOption {
        type = types.listOf types.str;
        default = [ ];
        example = [ "ssh-ed25519 AAAA… builder02" ];
        description = ''
          SSH keys of other builders' users. They may talk to the Nix daemon as `${pusher}` and do nothing
          else; the daemon takes only what is signed by a key of `signingKeys`.
        '';
      };
      signingKeys = mkOption {
        type = types.listOf (types.strMatching "[^:]+:[A-Za-z0-9+/]{43}=");
        default = [ ];
        example = [ "builder02-1:8qcHfKMG3tkqDG0Tn0mNYUbq1J1OV4cQGvnHcuQq4pI=" ];
        description = "Public keys of the builders that push.";
      };
    };
  };

  config = lib.mkIf cfg.enable (
    lib.mkMerge [
      {
        assertions = [
          {
            assertion = cfg.signKeyFile != null;
            message = ''
              services.nix-build-pool.cache.signKeyFile is not set, and hosts take nothing that is not signed. Make
              a key with
                nix key generate-secret --key-name ${config.networking.hostName}-1
            '';
          }
          {
            assertion = (cfg.push.sshKeys == [ ]) == (cfg.push.signingKeys == [ ]);
            message = ''
              services.nix-build-pool.cache.push needs both sshKeys and signingKeys: without the latter the daemon
              refuses what is pushed.
            '';
          }
          {
            assertion = cfg.freeSpace.max >= cfg.freeSpace.min;
            message = ''
              services.nix-build-pool.cache.freeSpace.max is less than min: collecting would never begin to end.
            '';
          }
          (pool.notInStore "services.nix-build-pool.cache.signKeyFile" cfg.signKeyFile)
        ];
        networking.firewall.allowedTCPPorts = lib.optional cfg.openFirewall cfg.port;
        nix.settings = {
          min-free = cfg.freeSpace.min;
          max-free = cfg.freeSpace.max;
        };
      }
      {
        # `services.harmonia` had these options at its top until 2026; since then they are below `cache`.
        services.harmonia =
          if options.services.harmonia ? cache then { cache = harmonia; } else harmonia;
      }
      (lib.mkIf (cfg.push.sshKeys != [ ]) {
        users.users.${pusher} = {
          isSystemUser = true;
          group = pusher;
          description = "nix-build-pool: builders that push";
          # sshd runs the forced command through the login shell.
          useDefaultShell = true;
          openssh.authorizedKeys.keys = map (key: ''restrict,command="nix-daemon --stdio" ${key}'') cfg.push.sshKeys;
        };
        users.groups.${pusher} = { };
        nix.settings = {
          extra-allowed-users = [ pusher ];
          extra-trusted-public-keys = cfg.push.signingKeys;
        };
      })
    ]
  );
}
