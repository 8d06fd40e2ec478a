variable "vms" {
  description = <<-EOT
    The machines by name. `ip` is the address with its prefix; `memory` is in MiB; sizes of disks are whole
    gibibytes or tebibytes, as "100G" or "1T". `nix_disk_size` is a disk of its own for /nix, which can grow
    and never shrinks; without it /nix lies on the first disk.
  EOT
  type = map(object({
    ip            = string
    cpu_cores     = optional(number, 2)
    memory        = optional(number, 4096)
    disk_size     = optional(string, "20G")
    nix_disk_size = optional(string)
    gateway       = optional(string)
    node          = optional(string)
    vlan          = optional(number)
    flake_branch  = optional(string, "master")
  }))

  validation {
    condition     = length(var.vms) > 0
    error_message = "There is no machine in vms."
  }

  validation {
    condition     = alltrue([for name in keys(var.vms) : can(regex("^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$", name))])
    error_message = "A machine's name is a host name: lower case letters, digits and '-', at most 63, none of them '-' at an end. Wrong: ${join(", ", [for name in keys(var.vms) : name if !can(regex("^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$", name))])}."
  }

  validation {
    condition     = alltrue([for vm in values(var.vms) : can(regex("^[0-9]+(\\.[0-9]+){3}/[0-9]+$", vm.ip)) && can(cidrhost(vm.ip, 1))])
    error_message = "An ip is an IPv4 address with its prefix, such as 10.69.13.15/24. Wrong: ${join(", ", [for name, vm in var.vms : "${name} (${vm.ip})" if !(can(regex("^[0-9]+(\\.[0-9]+){3}/[0-9]+$", vm.ip)) && can(cidrhost(vm.ip, 1)))])}."
  }

  validation {
    # The address of the network itself, or its broadcast address, is no machine's.
    condition = alltrue([
      for vm in values(var.vms) : try(
        split("/", vm.ip)[0] != cidrhost(vm.ip, 0) && split("/", vm.ip)[0] != cidrhost(vm.ip, -1) &&
        tonumber(split("/", vm.ip)[1]) >= 8 && tonumber(split("/", vm.ip)[1]) <= 30, true
      )
    ])
    error_message = "An ip is the network's own or its broadcast address, or its prefix is not one of /8 to /30: ${join(", ", [for name, vm in var.vms : "${name} (${vm.ip})"])}."
  }

  validation {
    condition     = length(distinct([for vm in values(var.vms) : split("/", vm.ip)[0]])) == length(var.vms)
    error_message = "Two machines have the same address: ${join(", ", [for name, vm in var.vms : "${name} (${vm.ip})"])}."
  }

  validation {
    condition     = alltrue([for vm in values(var.vms) : vm.gateway == null || can(cidrhost("${vm.gateway}/32", 0))])
    error_message = "A gateway is an IPv4 address without a prefix, such as 10.69.13.1."
  }

  validation {
    condition     = alltrue([for vm in values(var.vms) : vm.gateway == null || try(cidrhost("${vm.gateway}/${split("/", vm.ip)[1]}", 0) == cidrhost(vm.ip, 0), true)])
    error_message = "A gateway must lie in its machine's network: ${join(", ", [for name, vm in var.vms : "${name} (${vm.ip}, ${vm.gateway == null ? "-" : vm.gateway})"])}."
  }

  validation {
    condition     = alltrue([for vm in values(var.vms) : vm.cpu_cores >= 1 && vm.cpu_cores <= 128 && floor(vm.cpu_cores) == vm.cpu_cores])
    error_message = "cpu_cores is a whole number from 1 to 128."
  }

  validation {
    condition     = alltrue([for vm in values(var.vms) : vm.memory >= 1024 && vm.memory <= 1048576 && floor(vm.memory) == vm.memory])
    error_message = "memory is in MiB, a whole number from 1024: 8 GiB are 8192. Wrong: ${join(", ", [for name, vm in var.vms : "${name} (${vm.memory})" if !(vm.memory >= 1024 && vm.memory <= 1048576 && floor(vm.memory) == vm.memory)])}."
  }

  validation {
    condition     = alltrue([for vm in values(var.vms) : can(regex("^[1-9][0-9]*[GT]$", vm.disk_size)) && (vm.nix_disk_size == null || can(regex("^[1-9][0-9]*[GT]$", vm.nix_disk_size)))])
    error_message = "A size is a whole number and G or T, such as 100G or 1T: ${join(", ", [for name, vm in var.vms : "${name} (${vm.disk_size}, ${vm.nix_disk_size == null ? "-" : vm.nix_disk_size})"])}."
  }

  validation {
    # A NixOS system and its boot partition do not fit below 8 GiB.
    condition     = alltrue([for vm in values(var.vms) : try(tonumber(trimsuffix(vm.disk_size, "G")) >= 8, true)])
    error_message = "disk_size is at least 8G."
  }

  validation {
    condition     = alltrue([for vm in values(var.vms) : vm.vlan == null || try(vm.vlan >= 1 && vm.vlan <= 4094 && floor(vm.vlan) == vm.vlan, false)])
    error_message = "vlan is a whole number from 1 to 4094."
  }

  validation {
    condition     = alltrue([for vm in values(var.vms) : can(regex("^[A-Za-z0-9_][A-Za-z0-9_.+@#=/-]*$", vm.flake_branch))])
    error_message = "flake_branch is the name of a branch, such as master."
  }
}
