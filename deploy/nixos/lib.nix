# What the modules share: types of options, credentials, and how a config file is rendered.
{ lib }:
let
  inherit (lib) mkOption types;

  # Token of the pool: names of repositories, hosts and workers.
  tokenPattern = "[A-Za-z0-9_][A-Za-z0-9_-]{0,62}";
in
rec {
  token = types.strMatching tokenPattern // {
    description = "name of letters, digits, _ and -, at most 63 long";
  };

  # What ends up on a systemd command line: nothing there that systemd or a shell would read otherwise.
  branch = types.strMatching "[A-Za-z0-9_][A-Za-z0-9_.+@#=/-]*" // {
    description = "name of a branch";
  };
  hostGlob = types.strMatching "[A-Za-z0-9_*?{},!^[-]+(][A-Za-z0-9_*?{},!^[-]*)*" // {
    description = "name of a host, or a glob over names";
  };
  duration = types.strMatching "[0-9]+(ms|s|m|h|d)( ?[0-9]+(ms|s|m|h|d))*" // {
    description = "duration such as 90s, 2h45m";
  };

  # A string, not a path: a path would be copied into the store, which everybody can read.
  secretFile = types.strMatching "/.+" // {
    description = "absolute path of a secret file, as a string";
  };

  mkSecret =
    args:
    mkOption (
      {
        type = secretFile;
      }
      // args
      // {
        description = ''
          ${args.description}

          systemd reads it as root and hands it to the service alone (`LoadCredential`), so it needs no
          owner but root.
        '';
      }
    );

  # No assertion when nothing is wrong; each says what to do.
  notInStore = option: file: {
    assertion = file == null || !lib.hasPrefix builtins.storeDir file;
    message = ''
      ${option} is ${toString file}, which everybody on this machine can read. Keep the secret outside of
      the Nix store, e.g. with sops-nix or agenix, and give the path of the decrypted file.
    '';
  };

  # Where systemd puts a credential of a service.
  credential = service: name: "/run/credentials/${service}.service/${name}";

  # Nix has null for "not given"; TOML has nothing.
  dropNulls = lib.filterAttrsRecursive (_: value: value != null);

  # One `[repos.<name>]` table as worker, producer and gate read it.
  repoTable =
    service: name: repo:
    dropNulls {
      inherit (repo) url;
      default_ref = repo.defaultRef;
      refs = if repo.refs == [ ] then [ repo.defaultRef ] else repo.refs;
      inherit (repo) class exclude;
      hosts = lib.mapAttrs (_: host: dropNulls { inherit (host) class features; }) repo.hosts;
      git_credentials_file =
        if repo.gitCredentialsFile == null then null else credential service "git-${name}";
    };

  repoCredentials =
    repos:
    lib.mapAttrsToList (name: repo: "git-${name}:${repo.gitCredentialsFile}") (
      lib.filterAttrs (_: repo: repo.gitCredentialsFile != null) repos
    );

  natsTable =
    pool: service:
    dropNulls {
      inherit (pool.nats) url;
      nkey_file = credential service "nkey";
      ca_file = pool.nats.caFile;
    };

  # What any of the three programs needs before it can work.
  poolAssertions =
    option: pool:
    [
      {
        assertion = pool.repos != { };
        message = ''
          ${option} is enabled, but there is no repository. Add one, e.g.
            services.nix-build-pool.repos.nixos-servers.url = "https://git.example.org/infra/nixos-servers.git";
        '';
      }
    ]
    # The names become parts of units, credentials and subjects.
    ++ map (name: {
      assertion = token.check name;
      message = ''
        services.nix-build-pool.repos."${name}": the name may have letters, digits, _ and -, and 63 of them at
        most. It is the pool's own name for the repository; its URL stands in `url`.
      '';
    }) (lib.attrNames pool.repos)
    ++ lib.mapAttrsToList (
      name: repo:
      notInStore "services.nix-build-pool.repos.${name}.gitCredentialsFile" repo.gitCredentialsFile
    ) pool.repos;

  # A static user: Nix's allowed-users cannot name a DynamicUser (NixOS/nix#9071).
  staticUser = name: home: {
    users.users.${name} = {
      isSystemUser = true;
      group = name;
      inherit home;
      description = "nix-build-pool";
    };
    users.groups.${name} = { };
    # Of a list with a default; setting allowed-users itself would lock all others out.
    nix.settings.extra-allowed-users = [ name ];
  };

  # Services that call Nix and git.
  clientService = {
    wants = [ "network-online.target" ];
    after = [
      "network-online.target"
      "nix-daemon.socket"
    ];
    requires = [ "nix-daemon.socket" ];
    environment.NIX_REMOTE = "daemon";
  };
}
