# The sandbox of every service of the pool, as systemd settings. `deploy/systemd` has the same ones;
# scripts/check-systemd compares the two.
#
# What a Nix client needs, and why nothing stricter is set:
# - AF_UNIX: the socket of nix-daemon. No write access to /nix: the daemon writes, also the roots.
# - ProtectProc is left at its default: that a builder behind the daemon is gone can only be seen in
#   the /proc of another user's process. ProcSubset too: memory pressure is read in /proc/pressure.
# - RestrictNamespaces and PrivateDevices are fine: sandboxes and /dev/kvm are the daemon's.
{
  AmbientCapabilities = "";
  CapabilityBoundingSet = "";
  DeviceAllow = "";
  DevicePolicy = "closed";
  KeyringMode = "private";
  LockPersonality = true;
  MemoryDenyWriteExecute = true;
  NoNewPrivileges = true;
  PrivateDevices = true;
  PrivateMounts = true;
  PrivateTmp = true;
  PrivateUsers = true;
  ProtectClock = true;
  ProtectControlGroups = true;
  ProtectHome = true;
  ProtectHostname = true;
  ProtectKernelLogs = true;
  ProtectKernelModules = true;
  ProtectKernelTunables = true;
  ProtectSystem = "strict";
  RemoveIPC = true;
  RestrictAddressFamilies = [
    "AF_UNIX"
    "AF_INET"
    "AF_INET6"
  ];
  RestrictNamespaces = true;
  RestrictRealtime = true;
  RestrictSUIDSGID = true;
  SystemCallArchitectures = "native";
  SystemCallErrorNumber = "EPERM";
  SystemCallFilter = [
    "@system-service"
    "~@privileged @resources"
  ];
  UMask = "0077";
}
