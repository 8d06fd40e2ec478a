# A home lab of nine hosts that builds without nixpkgs, in seconds, from nothing but /bin/sh.
#
# It has the shape of a real NixOS flake where a build pool looks at it:
#   nixosConfigurations.<host>.config.system.build.toplevel
#   nixosConfigurations.<host>.config.nixpkgs.hostPlatform.system
#   nixosConfigurations.<host>.pkgs.system
{
  description = "Nine example hosts for nix-build-pool";

  outputs =
    { self }:
    let
      versions = builtins.fromJSON (builtins.readFile ./versions.json);
      # Part of every derivation: another salt and nothing is built yet.
      salt = builtins.readFile ./salt;

      nixosSystem =
        name:
        { system, services }:
        let
          pkgs = import ./packages.nix { inherit system versions salt; };
          toplevel = pkgs.nixosSystem name (services pkgs);
        in
        {
          inherit pkgs;
          config = {
            networking.hostName = name;
            nixpkgs.hostPlatform.system = system;
            system.nixos.release = versions.nixos;
            system.build.toplevel = toplevel;
          };
        };
    in
    {
      nixosConfigurations = builtins.mapAttrs nixosSystem (import ./hosts.nix);
    };
}
