# No provider: this module computes, so that it can be tested without a hypervisor or a network.
terraform {
  required_version = ">= 1.9"
}
