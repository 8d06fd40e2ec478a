//! Test flakes: hosts like those of `examples/homelab`, but tiny, and with every way to go wrong.
//!
//! All hosts share the derivation `shared-leaf`. Host `x` is the derivation `nixos-system-x-26.05`
//! ([`system_name`]). Builds report to the store's `/control` folder ([`crate::NixStore`]).

use std::collections::BTreeMap;

/// The leaf below every host that [`Flake::failing`] names.
pub const BROKEN_LEAF: &str = "broken-leaf";

/// The leaf below every host.
pub const SHARED_LEAF: &str = "shared-leaf";

/// What the failing leaf says last before it ends with exit code 1.
pub const LAST_WORDS: &str = "broken-leaf: no rule to make target 'all'";

/// A flake under construction; [`Flake::files`] is what to commit.
#[derive(Clone, Debug)]
pub struct Flake {
    salt: String,
    seconds: f64,
    extra: String,
    hosts: BTreeMap<String, Host>,
}

#[derive(Clone, Debug)]
enum Host {
    System(System),
    /// A Nix expression in place of the whole host.
    Expression(String),
}

#[derive(Clone, Debug)]
struct System {
    system: String,
    held: bool,
    fails: bool,
    moody: bool,
    /// A Nix expression in place of the system derivation.
    toplevel: Option<String>,
}

/// The name of the derivation of a host.
pub fn system_name(host: &str) -> String {
    format!("nixos-system-{host}-26.05")
}

impl Flake {
    /// The hosts `h01`, `h02` … that build in no time.
    pub fn hosts(count: usize) -> Self {
        let names: Vec<String> = (1..=count).map(|number| format!("h{number:02}")).collect();
        Self::named(&names)
    }

    /// Hosts with these names. Any name will do, legal or not.
    pub fn named<N: AsRef<str>>(names: &[N]) -> Self {
        let system = || {
            let system = "x86_64-linux".to_owned();
            Host::System(System { system, held: false, fails: false, moody: false, toplevel: None })
        };
        let hosts = names.iter().map(|name| (name.as_ref().to_owned(), system())).collect();
        Self { salt: "salt".to_owned(), seconds: 0.0, extra: String::new(), hosts }
    }

    pub fn names(&self) -> Vec<&str> {
        self.hosts.keys().map(String::as_str).collect()
    }

    /// Another salt gives other derivations, so that a store has none of them yet.
    pub fn salt(mut self, salt: &str) -> Self {
        self.salt = salt.to_owned();
        self
    }

    /// How long each host's own build takes.
    pub fn seconds(mut self, seconds: f64) -> Self {
        self.seconds = seconds;
        self
    }

    /// The host's build begins and does not end before [`crate::NixStore::release`].
    pub fn held(mut self, host: &str) -> Self {
        self.system_of(host).held = true;
        self
    }

    /// The host needs `broken-leaf`, whose build fails. All hosts so named share that leaf.
    pub fn failing(mut self, host: &str) -> Self {
        self.system_of(host).fails = true;
        self
    }

    /// The host's build fails in every store but those of [`crate::NixStore::soothe`].
    pub fn moody(mut self, host: &str) -> Self {
        self.system_of(host).moody = true;
        self
    }

    /// A host of another system, such as `aarch64-linux`.
    pub fn system(mut self, host: &str, system: &str) -> Self {
        self.system_of(host).system = system.to_owned();
        self
    }

    /// The host's name and system evaluate; its derivation is this expression, such as `abort "no"`.
    pub fn toplevel(mut self, host: &str, expression: &str) -> Self {
        self.system_of(host).toplevel = Some(expression.to_owned());
        self
    }

    /// The whole host is this expression: not even its system can be known.
    pub fn host_expression(mut self, host: &str, expression: &str) -> Self {
        self.hosts.insert(host.to_owned(), Host::Expression(expression.to_owned()));
        self
    }

    /// Further attributes of the flake, such as `nixConfig.sandbox = false;`.
    pub fn extra(mut self, attributes: &str) -> Self {
        self.extra = attributes.to_owned();
        self
    }

    /// The files of the flake.
    pub fn files(&self) -> Vec<(String, String)> {
        let hosts: String = self
            .hosts
            .iter()
            .map(|(name, host)| format!("      {} = {};\n", quoted(name), self.host(name, host)))
            .collect();
        let flake = format!(
            "{{\n  description = \"Test hosts\";\n  {}\n  outputs = {{ self }}: {{\n    \
             nixosConfigurations = {{\n{hosts}    }};\n  }};\n}}\n",
            self.extra
        );
        vec![
            ("flake.nix".to_owned(), flake),
            ("host.nix".to_owned(), HOST.to_owned()),
            ("step.sh".to_owned(), STEP.to_owned()),
        ]
    }

    fn host(&self, name: &str, host: &Host) -> String {
        match host {
            Host::Expression(expression) => format!("({expression})"),
            Host::System(System { system, held, fails, moody, toplevel }) => {
                let toplevel =
                    toplevel.as_ref().map_or(String::new(), |text| format!("toplevel = {text}; "));
                format!(
                    "import ./host.nix {{ name = {}; system = {}; salt = {}; seconds = \"{}\"; \
                     held = {held}; fails = {fails}; moody = {moody}; {toplevel}}}",
                    quoted(name),
                    quoted(system),
                    quoted(&self.salt),
                    self.seconds,
                )
            }
        }
    }

    #[track_caller]
    fn system_of(&mut self, host: &str) -> &mut System {
        match self.hosts.get_mut(host) {
            Some(Host::System(system)) => system,
            other => panic!("no system {host:?} in this flake: {other:?}"),
        }
    }
}

/// A Nix string literal.
fn quoted(text: &str) -> String {
    let escaped = text.replace('\\', "\\\\").replace('"', "\\\"").replace("${", "\\${");
    format!("\"{escaped}\"")
}

const HOST: &str = r#"{ name, system, salt, seconds, held, fails, moody, toplevel ? null }:
let
  step = attrs: derivation ({
    inherit system salt;
    builder = "/bin/sh";
    args = [ "-eu" ./step.sh ];
    held = "";
    moody = "";
    last_words = "";
    seconds = "0";
    deps = [ ];
  } // attrs);
  leaf = step { name = "shared-leaf"; };
  broken = step {
    name = "broken-leaf";
    last_words = "broken-leaf: no rule to make target 'all'";
  };
  built = step {
    name = "nixos-system-${name}-26.05";
    inherit seconds;
    held = if held then name else "";
    moody = if moody then "1" else "";
    deps = [ leaf ] ++ (if fails then [ broken ] else [ ]);
  };
in
{
  pkgs = { inherit system; };
  config.networking.hostName = name;
  config.nixpkgs.hostPlatform.system = system;
  config.system.build.toplevel = if toplevel == null then built else toplevel;
}
"#;

const STEP: &str = r#"echo "begin $name" >> /control/reports
echo "building $name"
while [ -n "$held" ] && ! [ -e "/control/release-$held" ]; do sleep 0.02; done
sleep "$seconds"
echo "end $name" >> /control/reports
if [ -n "$moody" ] && ! [ -e /control/soothed ]; then echo "not today" >&2; exit 1; fi
if [ -n "$last_words" ]; then
  for line in 1 2 3; do echo "broken-leaf: warning $line"; done
  echo "$last_words" >&2
  exit 1
fi
mkdir -p "$out"
echo "$deps" > "$out/deps"
echo "built $name"
"#;
