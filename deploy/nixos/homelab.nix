# `homelab.host.role`, for fleets that do not declare it themselves. The worker module takes it as a
# label wherever it is declared; import this only where nothing else does.
{ lib, ... }:
{
  options.homelab.host.role = lib.mkOption {
    type = lib.types.nullOr lib.types.str;
    default = null;
    example = "build-host";
    description = "What this host is for. It becomes the label `role` of its worker.";
  };
}
