# The three programs, with git and Nix left to whoever runs them: they must be those of the machine.
{
  lib,
  rustPlatform,
}:
rustPlatform.buildRustPackage {
  pname = "nix-build-pool";
  version = (lib.importTOML ../../Cargo.toml).workspace.package.version;

  # What cargo reads, so that a change of documentation builds nothing.
  src = lib.fileset.toSource {
    root = ../..;
    fileset = lib.fileset.unions (
      [
        ../../Cargo.toml
        ../../Cargo.lock
      ]
      ++ map (member: ../.. + "/${member}") (lib.importTOML ../../Cargo.toml).workspace.members
    );
  };
  cargoLock.lockFile = ../../Cargo.lock;

  # The integration tests want a broker, a Nix that builds and the network of a machine: `make test`.
  doCheck = false;
  strictDeps = true;

  cargoBuildFlags = [
    "--bin=worker"
    "--bin=producer"
    "--bin=gate"
  ];

  meta = {
    description = "A durable, distributed build pool for NixOS fleets on NATS JetStream";
    license = with lib.licenses; [
      mit
      asl20
    ];
    platforms = lib.platforms.linux;
    mainProgram = "producer";
  };
}
