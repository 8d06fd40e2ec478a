# The three programs, with git and Nix left to whoever runs them: they must be those of the machine.
{
  lib,
  rustPlatform,
  installShellFiles,
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

  nativeBuildInputs = [ installShellFiles ];
  postInstall = ''
    for program in worker producer gate; do
      "$out/bin/$program" man man
      for shell in bash zsh fish; do
        "$out/bin/$program" completions "$shell" >"$program.$shell"
      done
      installShellCompletion --cmd "$program" --bash "$program.bash" --zsh "$program.zsh" --fish "$program.fish"
    done
    installManPage man/*.1
  '';

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
