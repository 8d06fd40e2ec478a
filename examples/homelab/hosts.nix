# What runs where. Kernel, systemd, openssh and the node exporter are on every host.
let
  server = services: {
    system = "x86_64-linux";
    inherit services;
  };
in
{
  ns1 = server (pkgs: [ pkgs.knot ]);
  ns2 = server (pkgs: [ pkgs.knot ]);
  http-proxy = server (pkgs: [ pkgs.nginx ]);
  monitoring01 = server (pkgs: [
    pkgs.alert-rules
    pkgs.grafana
    pkgs.prometheus
  ]);
  vault01 = server (pkgs: [ pkgs.openbao ]);
  nats1 = server (pkgs: [ pkgs.nats-server ]);
  nix-cache01 = server (pkgs: [
    pkgs.harmonia
    pkgs.nginx
  ]);
  gunter = server (pkgs: [ pkgs.sway ]);
  pi4 = {
    system = "aarch64-linux";
    services = pkgs: [ pkgs.knot ];
  };
}
