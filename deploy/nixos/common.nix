# Options that worker, producer and gate have in common.
{ lib, pkgs, ... }:
let
  inherit (lib) mkOption types;
  pool = import ./lib.nix { inherit lib; };

  host.options = {
    class = mkOption {
      type = types.nullOr types.str;
      default = null;
      example = "aarch64-linux";
      description = "Class of the host in full: system and features. Wins over what is evaluated.";
    };
    features = mkOption {
      type = types.listOf types.str;
      default = [ ];
      example = [ "kvm" ];
      description = "System features that building this host needs.";
    };
  };

  repo.options = {
    url = mkOption {
      type = types.str;
      example = "https://git.example.org/infra/nixos-servers.git";
      description = "Where git fetches the flake from: https, ssh, file, or an absolute path.";
    };
    defaultRef = mkOption {
      type = pool.branch;
      default = "master";
      description = "The branch that is meant when none is named.";
    };
    refs = mkOption {
      type = types.listOf types.str;
      default = [ ];
      example = [
        "master"
        "flake-update/*"
      ];
      description = ''
        Branches that may be built; empty means `defaultRef` alone. Whoever may push to one of them runs
        code on the builders.
      '';
    };
    class = mkOption {
      type = types.str;
      default = "x86_64-linux";
      description = "Class of hosts whose system cannot be evaluated.";
    };
    exclude = mkOption {
      type = types.listOf pool.hostGlob;
      default = [ ];
      example = [ "installer*" ];
      description = "Hosts, as globs, that are never asked for and that the gate does not require.";
    };
    hosts = mkOption {
      type = types.attrsOf (types.submodule host);
      default = { };
      description = "What is special about single hosts.";
    };
    gitCredentialsFile = mkOption {
      type = types.nullOr pool.secretFile;
      default = null;
      example = "/run/secrets/git-credentials";
      description = ''
        File in the format of git's `credential-store`, for `https` URLs that need a login. systemd hands
        it to the services.
      '';
    };
  };
in
{
  options.services.nix-build-pool = {
    package = mkOption {
      type = types.package;
      default =
        pkgs.nix-build-pool
          or (throw "services.nix-build-pool.package is not set and pkgs has no nix-build-pool: use the modules of the flake, or its overlay");
      defaultText = lib.literalExpression "pkgs.nix-build-pool";
      description = "The package with `worker`, `producer` and `gate`.";
    };
    nats = {
      url = mkOption {
        type = types.str;
        example = "tls://nats1.example.org:4222";
        description = "The broker; several URLs are separated by commas.";
      };
      caFile = mkOption {
        type = types.nullOr types.path;
        default = null;
        description = ''
          Certificates, PEM, that the broker's certificate must descend from. They are public and may lie in
          the store.
        '';
      };
    };
    repos = mkOption {
      type = types.attrsOf (types.submodule repo);
      default = { };
      description = "The flake repositories, by the name that jobs and results carry.";
    };
  };
}
