# Machines on Proxmox VE for the vms map: what is right and what is left out, modules/vm-spec decides.
#
#   terraform init && terraform apply -var-file=vms.tfvars
#
# The endpoint and the token come from PROXMOX_VE_ENDPOINT and PROXMOX_VE_API_TOKEN: no secret in a file here.

terraform {
  required_version = ">= 1.9"

  required_providers {
    proxmox = {
      source  = "bpg/proxmox"
      version = "~> 0.111"
    }
  }
}

variable "vms" {
  description = "The machines; see modules/vm-spec."
  type        = any
}

variable "node" {
  description = "The Proxmox node of machines that name none."
  type        = string
}

variable "template_id" {
  description = "The VM id of a NixOS template with cloud-init, and with qemu-guest-agent if guest_agent is set."
  type        = number
}

variable "datastore" {
  description = "Where disks lie."
  type        = string
  default     = "local-zfs"
}

variable "bridge" {
  description = "The bridge that machines are connected to."
  type        = string
  default     = "vmbr0"
}

variable "dns_servers" {
  description = "Addresses of the name servers."
  type        = list(string)
  default     = []
}

variable "ssh_keys" {
  description = "Public keys of those who may log in at first."
  type        = list(string)
}

variable "guest_agent" {
  description = "Whether qemu-guest-agent runs in the template. Set without it, operations on the machine hang."
  type        = bool
  default     = false
}

module "spec" {
  source = "../modules/vm-spec"
  vms    = var.vms
}

resource "proxmox_virtual_environment_vm" "vm" {
  for_each = module.spec.vms

  name        = each.value.name
  description = "nix-build-pool, branch ${each.value.flake_branch}"
  node_name   = coalesce(each.value.node, var.node)
  tags        = ["nix-build-pool"]

  # A change of cores or memory reboots the machine: plan shows it first.
  reboot_after_update = true
  stop_on_destroy     = true
  # Proxmox itself refuses to remove it or its disks.
  protection = true

  clone {
    vm_id = var.template_id
    full  = true
  }

  cpu {
    cores = each.value.cores
    type  = "x86-64-v2-AES"
  }

  memory {
    dedicated = each.value.memory_mib
  }

  agent {
    enabled = var.guest_agent
  }

  disk {
    interface    = "scsi0"
    datastore_id = var.datastore
    size         = each.value.disk_gib
    discard      = "on"
    iothread     = true
  }

  # /nix, apart from the system. Its size may grow; the provider refuses to make it smaller. In the machine:
  #   fileSystems."/nix" = { device = "/dev/disk/by-label/nix"; fsType = "ext4"; autoResize = true; };
  dynamic "disk" {
    for_each = each.value.nix_disk_gib == null ? [] : [each.value.nix_disk_gib]

    content {
      interface    = "scsi1"
      datastore_id = var.datastore
      size         = disk.value
      discard      = "on"
      iothread     = true
      backup       = false
    }
  }

  network_device {
    bridge  = var.bridge
    vlan_id = each.value.vlan
  }

  initialization {
    datastore_id = var.datastore

    ip_config {
      ipv4 {
        address = each.value.cidr
        gateway = each.value.gateway
      }
    }

    dns {
      servers = var.dns_servers
    }

    user_account {
      username = "root"
      keys     = var.ssh_keys
    }
  }

  lifecycle {
    # What is on the disks is not in this file.
    prevent_destroy = true
    # A newer template is for new machines.
    ignore_changes = [clone, initialization]
  }
}

output "addresses" {
  description = "Address of each machine."
  value       = { for name, vm in module.spec.vms : name => vm.address }
}
