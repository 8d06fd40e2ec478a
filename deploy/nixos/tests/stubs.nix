# What the modules need of NixOS and nixpkgs, so that they can be evaluated with nixpkgs' lib alone. Strict
# on purpose: an option that NixOS does not have is an error here too.
{ lib }:
let
  inherit (lib) mkOption types;
  option = type: default: mkOption { inherit type default; };

  atom = types.oneOf [
    types.bool
    types.int
    types.str
    types.path
  ];
  unitSection = option (types.attrsOf (types.either atom (types.listOf atom))) { };
  strings = option (types.listOf types.str) [ ];

  service.options = {
    description = option types.str "";
    wantedBy = strings;
    wants = strings;
    after = strings;
    requires = strings;
    path = option (types.listOf types.package) [ ];
    environment = option (types.attrsOf (types.either types.str types.path)) { };
    serviceConfig = unitSection;
    unitConfig = unitSection;
    reloadIfChanged = option types.bool false;
    restartIfChanged = option types.bool true;
    reloadTriggers = option (types.listOf types.unspecified) [ ];
  };
  timer.options = {
    description = option types.str "";
    wantedBy = strings;
    timerConfig = unitSection;
  };
  user.options = {
    isSystemUser = option types.bool false;
    group = option types.str "";
    home = option types.str "/var/empty";
    description = option types.str "";
    useDefaultShell = option types.bool false;
    openssh.authorizedKeys.keys = strings;
  };
  nixSettings = {
    freeformType = types.attrsOf types.int;
    options.extra-allowed-users = strings;
    options.extra-trusted-public-keys = strings;
    options.secret-key-files = strings;
  };

  package = name: {
    type = "derivation";
    outPath = "/nix/store/00000000000000000000000000000000-${name}";
    inherit name;
    meta.mainProgram = name;
  };
  stored = name: "/nix/store/00000000000000000000000000000000-${name}";

  harmoniaOptions = {
    enable = option types.bool false;
    signKeyPaths = option (types.listOf types.path) [ ];
    settings = option (types.attrsOf atom) { };
  };

  toml =
    let
      value = types.nullOr (
        types.oneOf [
          atom
          (types.attrsOf value)
          (types.listOf value)
        ]
      );
    in
    value // { description = "TOML value"; };
in
{
  pkgs = {
    stdenv.hostPlatform.system = "x86_64-linux";
    formats.toml = _: {
      type = types.attrsOf toml;
      generate = name: content: builtins.seq (builtins.toJSON content) (stored name);
    };
    runCommand = name: _: script: builtins.seq script (stored name);
    nix-build-pool = package "nix-build-pool";
    git = package "git";
    openssh = package "openssh";
    coreutils = package "coreutils";
    nats-server = package "nats-server";
  };

  # Harmonia's options as nixpkgs had them until 2026, and since.
  harmonia.old.options.services.harmonia = harmoniaOptions;
  harmonia.new.options.services.harmonia.cache = harmoniaOptions;

  nixos.options = {
    assertions = option (types.listOf types.unspecified) [ ];
    networking.hostName = option types.str "nix-cache01";
    networking.firewall.allowedTCPPorts = option (types.listOf types.port) [ ];
    environment.systemPackages = option (types.listOf types.package) [ ];
    environment.etc = option (types.attrsOf (types.attrsOf types.path)) { };
    environment.variables = option (types.attrsOf types.str) { };
    nix.package = option types.package (package "nix");
    nix.settings = option (types.submodule nixSettings) { };
    systemd.package = option types.package (package "systemd");
    systemd.services = option (types.attrsOf (types.submodule service)) { };
    systemd.timers = option (types.attrsOf (types.submodule timer)) { };
    systemd.tmpfiles.rules = strings;
    users.users = option (types.attrsOf (types.submodule user)) { };
    users.groups = option (types.attrsOf (types.attrsOf types.unspecified)) { };
  };
}
