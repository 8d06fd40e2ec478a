# One thing wrong in each; the module must refuse it.

run "no_machine" {
  command = plan

  variables {
    vms = {}
  }

  expect_failures = [var.vms]
}

run "name_that_is_no_host_name" {
  command = plan

  variables {
    vms = { "Nix_Cache" = { ip = "10.0.0.5/24" } }
  }

  expect_failures = [var.vms]
}

run "name_that_ends_in_a_dash" {
  command = plan

  variables {
    vms = { "cache-" = { ip = "10.0.0.5/24" } }
  }

  expect_failures = [var.vms]
}

run "address_without_a_prefix" {
  command = plan

  variables {
    vms = { "a" = { ip = "10.0.0.5" } }
  }

  expect_failures = [var.vms]
}

run "address_out_of_range" {
  command = plan

  variables {
    vms = { "a" = { ip = "10.0.0.256/24" } }
  }

  expect_failures = [var.vms]
}

run "address_of_the_network" {
  command = plan

  variables {
    vms = { "a" = { ip = "10.0.0.0/24" } }
  }

  expect_failures = [var.vms]
}

run "broadcast_address" {
  command = plan

  variables {
    vms = { "a" = { ip = "10.0.0.255/24" } }
  }

  expect_failures = [var.vms]
}

run "prefix_of_a_single_address" {
  command = plan

  variables {
    vms = { "a" = { ip = "10.0.0.5/32" } }
  }

  expect_failures = [var.vms]
}

run "ipv6_address" {
  command = plan

  variables {
    vms = { "a" = { ip = "fd00::5/64" } }
  }

  expect_failures = [var.vms]
}

run "same_address_twice" {
  command = plan

  variables {
    vms = { "a" = { ip = "10.0.0.5/24" }, "b" = { ip = "10.0.0.5/16" } }
  }

  expect_failures = [var.vms]
}

run "gateway_of_another_network" {
  command = plan

  variables {
    vms = { "a" = { ip = "10.0.0.5/24", gateway = "10.0.1.1" } }
  }

  expect_failures = [var.vms]
}

run "gateway_with_a_prefix" {
  command = plan

  variables {
    vms = { "a" = { ip = "10.0.0.5/24", gateway = "10.0.0.1/24" } }
  }

  expect_failures = [var.vms]
}

run "no_cores" {
  command = plan

  variables {
    vms = { "a" = { ip = "10.0.0.5/24", cpu_cores = 0 } }
  }

  expect_failures = [var.vms]
}

run "half_a_core" {
  command = plan

  variables {
    vms = { "a" = { ip = "10.0.0.5/24", cpu_cores = 1.5 } }
  }

  expect_failures = [var.vms]
}

run "memory_in_gibibytes" {
  command = plan

  variables {
    vms = { "a" = { ip = "10.0.0.5/24", memory = 8 } }
  }

  expect_failures = [var.vms]
}

run "size_without_a_unit" {
  command = plan

  variables {
    vms = { "a" = { ip = "10.0.0.5/24", disk_size = "100" } }
  }

  expect_failures = [var.vms]
}

run "size_in_megabytes" {
  command = plan

  variables {
    vms = { "a" = { ip = "10.0.0.5/24", disk_size = "102400M" } }
  }

  expect_failures = [var.vms]
}

run "size_with_a_fraction" {
  command = plan

  variables {
    vms = { "a" = { ip = "10.0.0.5/24", disk_size = "0.5T" } }
  }

  expect_failures = [var.vms]
}

run "size_of_the_nix_disk_without_a_unit" {
  command = plan

  variables {
    vms = { "a" = { ip = "10.0.0.5/24", nix_disk_size = "200" } }
  }

  expect_failures = [var.vms]
}

run "disk_too_small_for_nixos" {
  command = plan

  variables {
    vms = { "a" = { ip = "10.0.0.5/24", disk_size = "4G" } }
  }

  expect_failures = [var.vms]
}

run "vlan_out_of_range" {
  command = plan

  variables {
    vms = { "a" = { ip = "10.0.0.5/24", vlan = 5000 } }
  }

  expect_failures = [var.vms]
}

run "branch_that_is_an_option" {
  command = plan

  variables {
    vms = { "a" = { ip = "10.0.0.5/24", flake_branch = "--upload-pack=x" } }
  }

  expect_failures = [var.vms]
}
