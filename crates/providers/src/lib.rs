//! Providers: they make a file tree readable as it was at one instant. A crate of its own because they need privilege.
//!
//! [`choose`] probes them, the best first: a btrfs snapshot of the whole subvolume; clones of every file taken before the
//! freeze; copies of every file taken before the freeze. The last two share the engine in `two_pass`: in the freeze they
//! touch only what changed since.
//!
//! What a provider puts on a file system of the site lies in one folder, `.stillpoint-<run>-<component>`, whose removal
//! is registered before it is made, and which no provider of the same run takes into its image.

mod btrfs;
mod btrfs_ioctl;
mod choose;
mod filesystem;
mod folder;
mod two_pass;

pub use btrfs::BtrfsProvider;
pub use choose::{all, choose};
pub use two_pass::{CopyProvider, ReflinkProvider, TrackerKind};
