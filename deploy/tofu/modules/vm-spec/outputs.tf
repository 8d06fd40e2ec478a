locals {
  # "100G" and "1T" in GiB.
  gib = { for size in distinct(flatten([for vm in values(var.vms) : [vm.disk_size, vm.nix_disk_size]])) : size => (
    endswith(size, "T") ? tonumber(trimsuffix(size, "T")) * 1024 : tonumber(trimsuffix(size, "G"))
  ) if size != null }
}

output "vms" {
  description = "The machines with every value there and in the unit that a hypervisor wants."
  value = {
    for name, vm in var.vms : name => {
      name         = name
      cidr         = vm.ip
      address      = split("/", vm.ip)[0]
      network      = "${cidrhost(vm.ip, 0)}/${split("/", vm.ip)[1]}"
      gateway      = vm.gateway == null ? cidrhost(vm.ip, 1) : vm.gateway
      cores        = vm.cpu_cores
      memory_mib   = vm.memory
      disk_gib     = local.gib[vm.disk_size]
      nix_disk_gib = vm.nix_disk_size == null ? null : local.gib[vm.nix_disk_size]
      node         = vm.node
      vlan         = vm.vlan
      flake_branch = vm.flake_branch
    }
  }
}
