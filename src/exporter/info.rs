//! What is told of a source beside its counts: who it is, as far as anybody can say.

use crate::address::AddressType;
use crate::exposition::{Family, Kind, Page, write_label};
use crate::mac::Mac;
use crate::sources::Snapshot;
use crate::vendor::Vendors;

/// Adds the family. `name` is what the inventory calls an address, empty if it does not list it. No source is
/// left out, whatever it is.
pub(super) fn write<'a>(
    page: &mut Page,
    books: &[Snapshot],
    vendors: &Vendors,
    name: &dyn Fn(Mac) -> &'a str,
) {
    let mut series = page.family(Family {
        name: "macwatch_source_info",
        help: "What this MAC address is called, whom its prefix belongs to, and what kind it is of. Always 1.",
        kind: Kind::Gauge,
    });
    let mut labels = String::new();
    for source in books.iter().flat_map(|books| &books.sources) {
        let mac = source.row.mac();
        labels.clear();
        labels.push_str(source.row.labels());
        for (label, value) in [
            ("name", name(mac)),
            ("vendor", vendors.find(mac).unwrap_or_default()),
            ("address_type", AddressType::of(mac).as_str()),
        ] {
            labels.push(',');
            write_label(&mut labels, label, value);
        }
        series.add(&labels, 1u64);
    }
}
