# Runs without a provider and without a network: `tofu test` or `terraform test` in this module.

run "the_cache_of_the_readme" {
  command = plan

  variables {
    vms = {
      "nix-cache01" = { ip = "10.69.13.15/24", cpu_cores = 4, memory = 8192, disk_size = "100G" }
    }
  }

  assert {
    # As JSON: an object with a null in it equals no other.
    condition = jsonencode(output.vms["nix-cache01"]) == jsonencode({
      name         = "nix-cache01"
      cidr         = "10.69.13.15/24"
      address      = "10.69.13.15"
      network      = "10.69.13.0/24"
      gateway      = "10.69.13.1"
      cores        = 4
      memory_mib   = 8192
      disk_gib     = 100
      nix_disk_gib = null
      node         = null
      vlan         = null
      flake_branch = "master"
    })
    error_message = "the normalised machine differs: ${jsonencode(output.vms)}"
  }
}

run "defaults_and_a_disk_for_nix" {
  command = plan

  variables {
    vms = {
      "nix-cache01" = { ip = "10.69.13.15/24", nix_disk_size = "1T", gateway = "10.69.13.254", vlan = 13 }
      "builder02"   = { ip = "10.69.14.20/28", disk_size = "40G", flake_branch = "update/x" }
    }
  }

  assert {
    condition     = output.vms["nix-cache01"].nix_disk_gib == 1024 && output.vms["nix-cache01"].disk_gib == 20
    error_message = "1T is 1024 GiB, and a disk without a size is 20 GiB"
  }
  assert {
    condition     = output.vms["nix-cache01"].gateway == "10.69.13.254" && output.vms["builder02"].gateway == "10.69.14.17"
    error_message = "the gateway is the given one, else the first address of the network"
  }
  assert {
    condition     = output.vms["builder02"].cores == 2 && output.vms["builder02"].memory_mib == 4096
    error_message = "defaults"
  }
}
