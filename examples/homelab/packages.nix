# The package set of one system. Versions come from versions.json, which stands in for flake.lock:
# an update of the inputs changes that file and nothing else.
{
  system,
  versions,
  salt,
}:
let
  # Nothing is compiled: a build step prints what its real counterpart prints and takes a moment.
  mk =
    {
      name,
      script,
      seconds,
      deps ? [ ],
      env ? { },
    }:
    derivation (
      {
        inherit name system salt seconds;
        builder = "/bin/sh";
        args = [
          "-eu"
          ./build/${script}.sh
        ];
        deps = map toString deps;
      }
      // env
    );

  package =
    pname: seconds: deps:
    mk {
      name = "${pname}-${versions.${pname}}";
      script = "package";
      inherit seconds deps;
    };

  # A Go program refuses to build with a compiler older than its go.mod asks for.
  goPackage =
    pname: seconds: goMod:
    mk {
      name = "${pname}-${versions.${pname}}";
      script = "go-package";
      inherit seconds;
      deps = [ self.go ];
      env = {
        inherit goMod;
        goVersion = versions.go;
      };
    };

  prometheusGoMod = if builtins.compareVersions versions.prometheus "3.9" >= 0 then "1.26" else "1.25";

  self = {
    # Both spellings that evaluators of NixOS hosts ask for.
    inherit system;
    stdenv.hostPlatform = { inherit system; };

    # On every host.
    glibc = package "glibc" "0.8" [ ];
    linux = package "linux" "1.4" [ ];
    systemd = package "systemd" "1.2" [ self.glibc ];
    openssh = package "openssh" "0.6" [ self.glibc ];
    node-exporter = goPackage "node-exporter" "0.6" "1.25";

    # On some.
    go = package "go" "0.8" [ ];
    grafana = goPackage "grafana" "1.0" "1.25";
    harmonia = package "harmonia" "0.8" [ self.glibc ];
    knot = package "knot" "0.7" [ self.glibc ];
    nats-server = goPackage "nats-server" "0.7" "1.25";
    nginx = package "nginx" "0.9" [ self.glibc ];
    openbao = goPackage "openbao" "0.9" "1.25";
    prometheus = goPackage "prometheus" "1.1" prometheusGoMod;
    sway = package "sway" "1.0" [ self.glibc ];

    # promtool, which checks the rules, is part of prometheus: a shared leaf below monitoring01.
    alert-rules = mk {
      name = "alert-rules";
      script = "alert-rules";
      seconds = "0.5";
      deps = [ self.prometheus ];
    };

    nixosSystem =
      host: services:
      mk {
        name = "nixos-system-${host}-${versions.nixos}";
        script = "system";
        seconds = "0.5";
        deps = [
          self.linux
          self.systemd
          self.openssh
          self.node-exporter
        ]
        ++ services;
        env = { inherit host; };
      };
  };
in
self
