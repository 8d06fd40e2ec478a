{
  description = "A durable, distributed build pool for NixOS fleets on NATS JetStream, and a gate over it";

  # Rust 1.95 or newer, and nats-server 2.14 or newer.
  inputs.nixpkgs.url = "github:NixOS/nixpkgs/nixos-unstable";

  outputs =
    { self, nixpkgs }:
    let
      inherit (nixpkgs) lib;
      systems = [
        "x86_64-linux"
        "aarch64-linux"
      ];
      eachSystem = make: lib.genAttrs systems (system: make nixpkgs.legacyPackages.${system});

      # The modules as they are, with the package of this flake.
      withPackage =
        module:
        { lib, pkgs, ... }:
        {
          imports = [ module ];
          services.nix-build-pool.package =
            lib.mkDefault
              self.packages.${pkgs.stdenv.hostPlatform.system}.default;
        };
    in
    {
      packages = eachSystem (pkgs: {
        default = pkgs.callPackage ./deploy/nixos/package.nix { };
      });

      overlays.default = final: _: {
        nix-build-pool = final.callPackage ./deploy/nixos/package.nix { };
      };

      nixosModules = {
        broker = withPackage ./deploy/nixos/broker.nix;
        worker = withPackage ./deploy/nixos/worker.nix;
        producer = withPackage ./deploy/nixos/producer.nix;
        gate = withPackage ./deploy/nixos/gate.nix;
        dashboard = withPackage ./deploy/nixos/dashboard.nix;
        # Needs no package of ours.
        cache = ./deploy/nixos/cache.nix;
        # Only where a fleet does not declare homelab.host.role itself.
        homelab = ./deploy/nixos/homelab.nix;
        default.imports = [
          self.nixosModules.broker
          self.nixosModules.worker
          self.nixosModules.producer
          self.nixosModules.gate
          self.nixosModules.dashboard
          self.nixosModules.cache
        ];
      };

      devShells = eachSystem (pkgs: {
        default = pkgs.mkShell {
          inputsFrom = [ self.packages.${pkgs.stdenv.hostPlatform.system}.default ];
          packages = [
            pkgs.busybox-sandbox-shell
            pkgs.clippy
            pkgs.git
            pkgs.nats-server
            pkgs.natscli
            pkgs.nixfmt-rfc-style
            pkgs.opentofu
            pkgs.python3
            pkgs.rustfmt
          ];
          NIXPKGS_LIB = "${nixpkgs}/lib";
        };
      });

      formatter = eachSystem (pkgs: pkgs.nixfmt-rfc-style);

      checks = eachSystem (
        pkgs:
        let
          inherit (pkgs.stdenv.hostPlatform) system;
        in
        {
          package = self.packages.${system}.default;
          devShell = self.devShells.${system}.default;
          # The same cases that scripts/check-nix looks at; evaluating them is most of the test.
          modules = pkgs.writeText "modules.json" (
            builtins.toJSON (import ./deploy/nixos/tests/evaluate.nix { inherit lib; })
          );
        }
        # Needs KVM on the machine that builds it.
        // lib.optionalAttrs (system == "x86_64-linux") {
          vm = pkgs.callPackage ./deploy/nixos/tests/vm.nix { inherit self; };
        }
      );
    };
}
