//! What a forge takes as an attachment, by the rules that it tells (`GET /settings/attachment`).

/// A server's rules for attachments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttachmentRules {
    /// Whether there are attachments at all.
    pub enabled: bool,
    /// Largest file in bytes; the server tells it in MiB.
    pub bytes_max: u64,
    /// Extensions with their dot and MIME types, in lower case; empty: everything.
    allowed: Vec<String>,
}

impl AttachmentRules {
    pub(super) fn new(enabled: bool, mebibytes_max: u64, allowed_types: &str) -> Self {
        // The bar is how older configurations separate them.
        let entries = allowed_types.split([',', '|']).map(|entry| entry.trim().to_lowercase());
        let allowed = entries.filter(|entry| !entry.is_empty()).collect();
        Self { enabled, bytes_max: mebibytes_max.saturating_mul(1 << 20), allowed }
    }

    /// Whether a file of this name and MIME type is taken. The server goes by the name's extension
    /// or by the type that it finds in the first bytes; either suffices.
    pub fn allows(&self, name: &str, mime_type: &str) -> bool {
        let name = name.to_lowercase();
        // The last extension only, as the server has it.
        let extension = name.rfind('.').map_or("", |dot| &name[dot..]);
        let fits = |entry: &String| {
            let family = entry.strip_suffix('*').filter(|family| family.ends_with('/'));
            entry == "*/*"
                || (!extension.is_empty() && entry == extension)
                || entry == mime_type
                || family.is_some_and(|family| mime_type.starts_with(family))
        };
        self.enabled && (self.allowed.is_empty() || self.allowed.iter().any(fits))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_types_are_allowed_as_the_server_does() {
        let check = |allowed: &str, name: &str, mime: &str, taken: bool| {
            let rules = AttachmentRules::new(true, 1, allowed);
            assert_eq!(rules.allows(name, mime), taken, "{name} ({mime}) by {allowed:?}");
        };
        let gzip = "application/x-gzip";
        check("", "web1.log.gz", gzip, true);
        check("*/*", "web1.log.gz", gzip, true);
        check(".txt, .GZ", "web1.log.gz", gzip, true);
        check(".txt|.gz", "WEB1.LOG.GZ", gzip, true);
        check(".log,.txt", "web1.log.gz", gzip, false);
        check("application/x-gzip", "web1.log.gz", gzip, true);
        check("application/*", "web1.log.gz", gzip, true);
        check("image/*", "web1.log.gz", gzip, false);
        check(".txt", "txt", "text/plain", false);
        assert!(!AttachmentRules::new(false, 1, "").allows("a.gz", gzip), "none are taken");
        assert_eq!(AttachmentRules::new(true, 100, "").bytes_max, 104_857_600);
    }
}
