// Profiles of grey levels, which not every browser hears: one curve, from levels to light.

/**
 * @param {Uint8Array} profile an ICC profile for grey levels.
 * @return {Uint8Array|null} the level in sRGB for every level [256]; null where the profile is broken.
 */
export function greyLevels(profile) {
  try {
    const curve = readCurve(new DataView(profile.buffer, profile.byteOffset, profile.byteLength));
    return Uint8Array.from({ length: 256 }, (_, level) => Math.round(255 * encoded(clipped(curve(level / 255)))));
  } catch {
    return null;
  }
}

function readCurve(view) {
  const start = findTag(view, 'kTRC');
  const kind = letters(view, start);
  if (kind === 'curv') return sampled(view, start + 8);
  if (kind === 'para') return parametric(view, start + 8);
  throw new RangeError(kind);
}

function findTag(view, name) {
  for (let entry = 132; entry < 132 + 12 * view.getUint32(128); entry += 12) {
    if (letters(view, entry) === name) return view.getUint32(entry + 4);
  }
  throw new RangeError(name);
}

function sampled(view, at) {
  const count = view.getUint32(at);
  if (count === 0) return (x) => x;
  if (count === 1) return (x) => x ** (view.getUint16(at + 4) / 256);
  const values = Array.from({ length: count }, (_, i) => view.getUint16(at + 4 + 2 * i) / 65535);
  return (x) => {
    const below = Math.min(count - 2, Math.floor(x * (count - 1)));
    return values[below] + (x * (count - 1) - below) * (values[below + 1] - values[below]);
  };
}

/** The five kinds that ICC has, in its letters: (a x + b)^g + e from d on, c x + f below. */
function parametric(view, at) {
  const names = ['g', 'gab', 'gabc', 'gabcd', 'gabcdef'][view.getUint16(at)];
  const given = [...names].map((name, i) => [name, view.getInt32(at + 4 + 4 * i) / 65536]);
  const { g, a, b, c, d, e, f } = { a: 1, b: 0, c: 0, d: 0, e: 0, f: 0, ...Object.fromEntries(given) };
  if (names.length === 3) return (x) => (a * x + b >= 0 ? (a * x + b) ** g : 0);
  if (names.length === 4) return (x) => (a * x + b >= 0 ? (a * x + b) ** g + c : c);
  return (x) => (x >= d ? (a * x + b) ** g + e : c * x + f);
}

function encoded(light) {
  return light <= 0.0031308 ? 12.92 * light : 1.055 * light ** (1 / 2.4) - 0.055;
}

function clipped(x) {
  return Math.min(1, Math.max(0, x));
}

function letters(view, at) {
  return String.fromCharCode(...[0, 1, 2, 3].map((i) => view.getUint8(at + i)));
}
