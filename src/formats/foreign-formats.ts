/** A format that is no image of memory, or one that cannot be read here, by what stands at some place in its file. */
interface ForeignFormat {
  /** What it is, for "found ...". */
  readonly name: string;
  /** Byte offset of the magic. */
  readonly at: number;
  /** The magic, one character a byte. */
  readonly magic: string;
  /** What to do instead. */
  readonly hint?: string;
}

const DISK = "a disk holds no memory of a running machine";
const UNPACK = "unpack it first";

/**
 * What people hand to tools for memory images by mistake, and dumps that are none of those read here. A raw image has no
 * magic, so that whatever begins like one of these is more likely that.
 */
const FOREIGN_FORMATS: readonly ForeignFormat[] = [
  // Dumps of memory in other formats.
  { name: "a diskdump file", at: 0, magic: "DISKDUMP" },
  { name: "an LKCD crash dump", at: 0, magic: "\xed\x23\x8f\x61\x73\x01\x19\xa8" },
  { name: "a compressed AVML file", at: 0, magic: "AVML", hint: "avml-convert makes a LiME file of it" },
  { name: "a big-endian LiME file", at: 0, magic: "LiME" },
  { name: "a Windows crash dump, 64-bit", at: 0, magic: "PAGEDU64" },
  { name: "a Windows crash dump, 32-bit", at: 0, magic: "PAGEDUMP" },
  { name: "a Windows minidump", at: 0, magic: "MDMP" },
  { name: "a Windows hibernation file", at: 0, magic: "hibr" },
  { name: "a Windows hibernation file", at: 0, magic: "HIBR" },
  { name: "a Windows hibernation file of a machine that woke up", at: 0, magic: "wake" },
  { name: "a Windows hibernation file of a machine that woke up", at: 0, magic: "WAKE" },
  { name: "a Windows hibernation file of a machine that woke up", at: 0, magic: "RSTR" },
  ...["\xd0\xbe\xd2\xbe", "\xd1\xba\xd1\xba", "\xd2\xbe\xd2\xbe", "\xd3\xbe\xd3\xbe"].map((magic) => ({
    name: "a suspended VMware machine (vmss or vmsn)",
    at: 0,
    magic,
    hint: "the memory is in the .vmem file beside it, or vmss2core makes an ELF core",
  })),
  {
    name: "a saved VirtualBox machine",
    at: 0,
    magic: "\x7fVirtualBox SavedState",
    hint: "VBoxManage debugvm NAME dumpvmcore writes an ELF core",
  },
  { name: "a saved QEMU machine", at: 0, magic: "QEVM", hint: "dump-guest-memory writes an ELF core" },
  ...["LibvirtQemudSave", "LibvirtQemudPart"].map((magic) => ({
    name: "a saved libvirt machine",
    at: 0,
    magic,
    hint: "virsh dump --memory-only writes an ELF core",
  })),
  { name: "a saved Xen machine", at: 0, magic: "\xff\xff\xff\xff\xff\xff\xff\xffXENF" },
  { name: "a saved Xen machine", at: 0, magic: "LinuxGuestRecord" },
  { name: "a forensic image (EWF, E01)", at: 0, magic: "EVF\x09\x0d\x0a\xff\x00" },
  { name: "a forensic image (EWF, Ex01)", at: 0, magic: "EVF2\x0d\x0a\x81\x00" },
  { name: "a forensic image (AFF)", at: 0, magic: "AFF10" },
  { name: "a Mach-O file", at: 0, magic: "\xcf\xfa\xed\xfe" },
  // Disks.
  { name: "a qcow2 disk", at: 0, magic: "QFI\xfb", hint: DISK },
  { name: "a QED disk", at: 0, magic: "QED\0", hint: DISK },
  { name: "a VMDK disk", at: 0, magic: "KDMV", hint: DISK },
  { name: "a VMDK disk", at: 0, magic: "COWD", hint: DISK },
  { name: "the description of a VMDK disk", at: 0, magic: "# Disk DescriptorFile", hint: DISK },
  { name: "a VDI disk", at: 0x40, magic: "\x7f\x10\xda\xbe", hint: DISK },
  { name: "a VHDX disk", at: 0, magic: "vhdxfile", hint: DISK },
  { name: "a VHD disk", at: 0, magic: "conectix", hint: DISK },
  { name: "a Parallels disk", at: 0, magic: "WithoutFreeSpace", hint: DISK },
  { name: "an encrypted disk (LUKS)", at: 0, magic: "LUKS\xba\xbe", hint: DISK },
  { name: "a disk with a GPT", at: 512, magic: "EFI PART", hint: DISK },
  { name: "an NTFS file system", at: 3, magic: "NTFS    ", hint: DISK },
  { name: "an exFAT file system", at: 3, magic: "EXFAT   ", hint: DISK },
  { name: "a FAT file system", at: 54, magic: "FAT1", hint: DISK },
  { name: "a FAT file system", at: 82, magic: "FAT32", hint: DISK },
  { name: "an XFS file system", at: 0, magic: "XFSB", hint: DISK },
  { name: "a btrfs file system", at: 0x1_0040, magic: "_BHRfS_M", hint: DISK },
  { name: "a squashfs file system", at: 0, magic: "hsqs", hint: DISK },
  { name: "an ISO 9660 disc", at: 0x8001, magic: "CD001", hint: DISK },
  { name: "a swap area", at: 4086, magic: "SWAPSPACE2" },
  { name: "a hibernated Linux (swap area)", at: 4086, magic: "S1SUSPEND" },
  // Packed files; gzip is inflated before anybody looks.
  { name: "a bzip2 file", at: 0, magic: "BZh", hint: UNPACK },
  { name: "an xz file", at: 0, magic: "\xfd7zXZ\0", hint: UNPACK },
  { name: "a zstd file", at: 0, magic: "\x28\xb5\x2f\xfd", hint: UNPACK },
  { name: "an lz4 file", at: 0, magic: "\x04\x22\x4d\x18", hint: UNPACK },
  { name: "an lzop file", at: 0, magic: "\x89LZO\0\r\n\x1a\n", hint: UNPACK },
  { name: "a snappy file", at: 0, magic: "\xff\x06\0\0sNaPpY", hint: UNPACK },
  { name: "a gzip file inside a gzip file", at: 0, magic: "\x1f\x8b\x08", hint: UNPACK },
  { name: "a zip file", at: 0, magic: "PK\x03\x04", hint: UNPACK },
  { name: "a 7z file", at: 0, magic: "7z\xbc\xaf\x27\x1c", hint: UNPACK },
  { name: "a rar file", at: 0, magic: "Rar!\x1a\x07", hint: UNPACK },
  { name: "a tar archive", at: 257, magic: "ustar", hint: UNPACK },
  { name: "a cpio archive", at: 0, magic: "07070", hint: UNPACK },
  // Other files of the same trade.
  { name: "a Linux kernel (bzImage)", at: 0x202, magic: "HdrS" },
  { name: "a pcap file", at: 0, magic: "\xd4\xc3\xb2\xa1" },
  { name: "a pcap file", at: 0, magic: "\xa1\xb2\xc3\xd4" },
  { name: "a pcap file", at: 0, magic: "\x4d\x3c\xb2\xa1" },
  { name: "a pcapng file", at: 0, magic: "\x0a\x0d\x0d\x0a" },
  { name: "a perf.data file", at: 0, magic: "PERFILE2" },
  { name: "a trace-cmd file", at: 0, magic: "\x17\x08Dtracing" },
  { name: "an SQLite database", at: 0, magic: "SQLite format 3\0" },
  { name: "a PDF file", at: 0, magic: "%PDF-" },
  { name: "a PNG picture", at: 0, magic: "\x89PNG\r\n\x1a\n" },
  { name: "a script", at: 0, magic: "#!/" },
];

/** Bytes of a file's start that {@link foreignFormatOf} looks at. */
export const FOREIGN_BYTES = Math.max(...FOREIGN_FORMATS.map(({ at, magic }) => at + magic.length));

const SECTOR = 512;
const PARTITIONS_AT = 446;
const EXT_MAGIC_AT = 0x438;
const EXT_MAGIC = 0xef53;
const PE_HEADER_AT = 0x3c;

/** What a file plainly is by its first bytes, with a hint when there is one; null when it may be a raw image. */
export function foreignFormatOf(start: Uint8Array): string | null {
  const text = Buffer.from(start.buffer, start.byteOffset, start.byteLength);
  const known = FOREIGN_FORMATS.find(({ at, magic }) => {
    return text.toString("latin1", at, at + magic.length) === magic;
  });
  if (known !== undefined) return known.name + (known.hint === undefined ? "" : `; ${known.hint}`);
  if (isExt(text)) return `an ext2, ext3 or ext4 file system; ${DISK}`;
  if (isPe(text)) return "a Windows program (PE)";
  return isPartitioned(text) ? `a disk with a partition table; ${DISK}` : null;
}

/** Two bytes of magic are few: the superblock's counts and block size must be possible, too. */
function isExt(text: Buffer): boolean {
  if (text.length < EXT_MAGIC_AT + 2 || text.readUInt16LE(EXT_MAGIC_AT) !== EXT_MAGIC) return false;
  return text.readUInt32LE(0x400) > 0 && text.readUInt32LE(0x404) > 0 && text.readUInt32LE(0x418) <= 6;
}

/** MZ, and at the place that it names the PE header. */
function isPe(text: Buffer): boolean {
  if (text.length < PE_HEADER_AT + 4 || text.toString("latin1", 0, 2) !== "MZ") return false;
  const at = text.readUInt32LE(PE_HEADER_AT);
  return text.toString("latin1", at, at + 4) === "PE\0\0";
}

/** The mark of a boot sector, and four partitions that are each empty or plausible, not all empty. */
function isPartitioned(text: Buffer): boolean {
  if (text.length < SECTOR || text.readUInt16LE(SECTOR - 2) !== 0xaa55) return false;
  const kinds = [0, 1, 2, 3].map((number) => {
    const at = PARTITIONS_AT + 16 * number;
    const status = text[at]!;
    const type = text[at + 4]!;
    const sectors = text.readUInt32LE(at + 12);
    if (status !== 0 && status !== 0x80) return "bad";
    if (type === 0) return sectors === 0 ? "empty" : "bad";
    return sectors > 0 ? "used" : "bad";
  });
  return !kinds.includes("bad") && kinds.includes("used");
}
