# Four machines: a broker with TLS, a builder whose store is the cache, a second builder that pushes to it,
# and a submitter. What is submitted is built by both and substituted by the submitter; a builder that is
# killed in the middle loses nothing; a key that the broker does not know gets nothing. Needs KVM.
{
  self,
  lib,
  runCommand,
  testers,
  git,
  nix,
  openssl,
  openssh,
  busybox-sandbox-shell,
}:
let
  # Keys are made when the test is built. They lie in the store, where a machine's must never be; the
  # modules see paths in /etc and cannot tell.
  keys =
    runCommand "nbp-test-keys"
      {
        nativeBuildInputs = [
          self.packages.x86_64-linux.default
          nix
          openssl
          openssh
        ];
      }
      ''
        export HOME=$TMPDIR NIX_STATE_DIR=$TMPDIR/nix
        for key in 'admin admin' 'submitter ci' 'submitter stranger' 'worker cache' 'worker builder'; do
          producer keys new $key --out $out
        done
        cd $out
        nix-store --generate-binary-cache-key cache-1 cache.sign cache.sign.pub
        nix-store --generate-binary-cache-key builder-1 builder.sign builder.sign.pub
        ssh-keygen -q -t ed25519 -N "" -f push
        ssh-keygen -q -t ed25519 -N "" -f host
        curve='-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes'
        openssl req -x509 $curve -days 36500 -subj /CN=test -keyout ca.key -out ca.pem
        openssl req $curve -subj /CN=nats -addext subjectAltName=DNS:nats -keyout nats.key -out nats.csr
        openssl x509 -req -in nats.csr -CA ca.pem -CAkey ca.key -CAcreateserial -copy_extensions copy \
          -days 36500 -out nats.pem
        chmod -R a+rX .
      '';
  content = file: lib.trim (builtins.readFile "${keys}/${file}");

  repository = runCommand "homelab.git" { nativeBuildInputs = [ git ]; } ''
    export HOME=$TMPDIR
    cp -R --no-preserve=mode ${../../../examples/homelab} work
    git init --quiet --initial-branch=master work
    git -C work add --all
    GIT_AUTHOR_DATE=@0 GIT_COMMITTER_DATE=@0 \
      git -C work -c user.name=test -c user.email=test@example.org commit --quiet -m hosts
    git clone --quiet --bare work $out
  '';

  secrets = names: {
    environment.etc = lib.genAttrs' names (
      name:
      lib.nameValuePair "nbp/${name}" {
        source = "${keys}/${name}";
        mode = "0400";
      }
    );
  };

  common = {
    imports = [ self.nixosModules.default ];
    programs.git = {
      enable = true;
      config.safe.directory = "*";
    };
    environment.systemPackages = [ self.packages.x86_64-linux.default ];
    nix.settings = {
      experimental-features = [
        "nix-command"
        "flakes"
      ];
      substituters = lib.mkForce [ ];
      sandbox-paths = [ "/bin/sh=${busybox-sandbox-shell}/bin/busybox" ];
    };
    services.nix-build-pool = {
      nats.url = "tls://nats:4222";
      nats.caFile = "${keys}/ca.pem";
      repos.homelab.url = "${repository}";
    };
    virtualisation.writableStore = true;
    virtualisation.memorySize = 1536;
    # An option of ours without a description is an error.
    documentation.nixos.options.warningsAreErrors = true;
  };

  worker = name: {
    services.nix-build-pool.worker = {
      enable = true;
      inherit name;
      nkeyFile = "/etc/nbp/${name}.nk";
      slots = 1;
      drainTimeout = 5;
      settings.admission = {
        store_free = "64MiB";
        build_free = "64MiB";
        inodes_free = 100;
      };
    };
  };

  key = role: name: { inherit role; public = content "${name}.pub"; };
  workerKey = name: key "worker" name // { classes = [ "x86_64-linux" ]; };
in
testers.runNixOSTest {
  name = "nix-build-pool";

  nodes = {
    nats = {
      imports = [
        common
        (secrets [
          "admin.nk"
          "nats.key"
          "nats.pem"
        ])
      ];
      services.nix-build-pool.broker = {
        enable = true;
        host = "0.0.0.0";
        openFirewall = true;
        tls.certFile = "/etc/nbp/nats.pem";
        tls.keyFile = "/etc/nbp/nats.key";
        keys = {
          admin = key "admin" "admin";
          ci = key "submitter" "ci";
          cache = workerKey "cache";
          builder = workerKey "builder";
        };
      };
    };

    cache = {
      imports = [
        common
        (worker "cache")
        (secrets [
          "cache.nk"
          "cache.sign"
          "host"
        ])
      ];
      services.nix-build-pool.cache = {
        enable = true;
        signKeyFile = "/etc/nbp/cache.sign";
        openFirewall = true;
        push.sshKeys = [ (content "push.pub") ];
        push.signingKeys = [ (content "builder.sign.pub") ];
        # The disks of a test are small.
        freeSpace.min = 0;
        freeSpace.max = 0;
      };
      services.openssh = {
        enable = true;
        hostKeys = [
          {
            path = "/etc/nbp/host";
            type = "ed25519";
          }
        ];
      };
    };

    builder = {
      imports = [
        common
        (worker "builder")
        (secrets [
          "builder.nk"
          "builder.sign"
          "push"
        ])
      ];
      programs.ssh.knownHosts.cache.publicKey = content "host.pub";
      services.nix-build-pool.worker.cache = {
        pushTo = "ssh-ng://nix-build-pool-push@cache";
        signKeyFile = "/etc/nbp/builder.sign";
        sshKeyFile = "/etc/nbp/push";
      };
    };

    ci = {
      imports = [
        common
        (secrets [
          "ci.nk"
          "stranger.nk"
        ])
      ];
      services.nix-build-pool.producer = {
        enable = true;
        nkeyFile = "/etc/nbp/ci.nk";
        submit.homelab.exclude = [ "pi*" ];
      };
    };
  };

  testScript = ''
    import json

    start_all()
    nats.wait_for_unit("nix-build-pool-broker.service")
    nats.wait_for_open_port(4222)
    client = "producer --nats-url tls://nats:4222 --ca-file ${keys}/ca.pem"
    nats.succeed(f"{client} --nkey-file /etc/nbp/admin.nk setup")
    for machine in (cache, builder):
        machine.wait_for_unit("nix-build-pool-worker.service")
    cache.wait_for_open_port(5000)

    with subtest("a key that the broker does not know gets nothing"):
        ci.fail(f"{client} --nkey-file /etc/nbp/stranger.nk status --repo homelab")

    def status(_=None):
        answer = ci.succeed(
            "NATS_NKEY=/etc/nbp/ci.nk producer --config /etc/nix-build-pool/producer.toml "
            "status --repo homelab --json"
        )
        return json.loads(answer)

    def finished(_):
        return status()["summary"]["finished"] == 8

    with subtest("the timer's unit asks, and a builder that is killed loses nothing"):
        ci.succeed("systemctl start nix-build-pool-submit-homelab.service")
        builder.wait_until_succeeds("journalctl -u nix-build-pool-worker | grep -q claimed", timeout=60)
        builder.succeed("systemctl kill --signal KILL nix-build-pool-worker.service")
        retry(finished, timeout=300)
        answer = status()
        assert answer["summary"]["built"] == 8, answer
        assert {host["worker"] for host in answer["hosts"]} == {"cache", "builder"}, answer

    with subtest("everything is in the cache, signed, and the submitter can have it"):
        paths = " ".join(host["out_path"] for host in answer["hosts"])
        ci.succeed(
            f"nix-store --realise {paths} --option substituters http://cache:5000 "
            "--option trusted-public-keys '${content "cache.sign.pub"}' --option max-jobs 0"
        )

    with subtest("a stop drains, and an upgrade by reload restarts"):
        before = cache.succeed("systemctl show --value -p MainPID nix-build-pool-worker").strip()
        cache.succeed("systemctl reload nix-build-pool-worker.service")
        cache.wait_until_succeeds(
            f"test $(systemctl show --value -p MainPID nix-build-pool-worker) != {before}", timeout=60
        )
        cache.wait_for_unit("nix-build-pool-worker.service")
        cache.succeed("systemctl stop nix-build-pool-worker.service")
        assert "Result=success" in cache.succeed("systemctl show -p Result nix-build-pool-worker")

    with subtest("no secret is in the units or the store's configs"):
        for machine in (nats, cache, builder, ci):
            machine.fail("systemctl cat 'nix-build-pool-*' | grep -E 'SU[A-Z2-7]{56}'")
  '';
}
