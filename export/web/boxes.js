// AVIF and HEIF files: what their boxes say about colours and about how the picture is turned. Some browsers hear
// neither, so it is taken out of the file, and done on the page.

// Such boxes stand in front, among the file's metadata.
const WITHIN = 1 << 16;
const FREE = [0x66, 0x72, 0x65, 0x65];
const ROTATION = [0x69, 0x72, 0x6f, 0x74];
// EXIF's numbers: for 0 to 3 quarter turns to the left; mirrored top to bottom, and left to right.
const TURNED = [1, 8, 3, 6];
const MIRRORED = [4, 2];

/** @return {boolean} whether a file is made of boxes. */
export function isBoxes(bytes) {
  return latin1(bytes, 4, 4) === 'ftyp';
}

/**
 * Takes out what some browsers do not hear.
 *
 * @param {Uint8Array} bytes of the file.
 * @return {{parts: Uint8Array[], profile: Uint8Array|null, orientation: number}} `parts`: the file without a profile
 *     and not turned; the profile; and how the picture is turned, as EXIF counts.
 */
export function splitBoxes(bytes) {
  const [start, rest] = [latin1(bytes, 0, WITHIN), bytes.slice()];
  const at = (pattern) => start.search(pattern);
  const [colours, turn, mirror] = [at(/colr(?:prof|rICC)/), at(/\0\0\0\x09irot/), at(/\0\0\0\x09imir/)];
  if (colours >= 4) rest.set(FREE, colours);
  // Readers pass over a free box, but insist on knowing those that turn: one of no turn takes their place. Where there
  // are two of them the browser shall turn the picture: Firefox takes no second one.
  const box = turn >= 0 && mirror >= 0 ? -1 : Math.max(turn, mirror);
  if (box >= 0) rest.set([...ROTATION, 0], box + 4);
  return {
    parts: [rest],
    profile: colours < 4 ? null : bytes.slice(colours + 8, colours - 4 + lengthAt(bytes, colours - 4)),
    orientation: box < 0 ? 1 : box === turn ? TURNED[bytes[box + 8] & 3] : MIRRORED[bytes[box + 8] & 1],
  };
}

function lengthAt(bytes, at) {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength).getUint32(at);
}

function latin1(bytes, start, length) {
  return new TextDecoder('latin1').decode(bytes.subarray(start, start + length));
}
