/** Powers of floats as Python computes them with the C library, whose results differ from those of JavaScript. */

/** A positive number, `digits · 2^exponent`. */
interface Scaled {
  readonly digits: bigint;
  readonly exponent: bigint;
}

/** Intermediate results have this many bits: far more than the 53 of the result. */
const PRECISION = 300n;

const bitsIn = (digits: bigint): bigint => BigInt(digits.toString(2).length);

function scaledOf(number: number): Scaled {
  let exponent = 0n;
  let whole = number;
  for (; !Number.isInteger(whole); exponent--) whole *= 2;
  return { digits: BigInt(whole), exponent };
}

function product(left: Scaled, right: Scaled): Scaled {
  const digits = left.digits * right.digits;
  const extra = bitsIn(digits) > PRECISION ? bitsIn(digits) - PRECISION : 0n;
  return { digits: digits >> extra, exponent: left.exponent + right.exponent + extra };
}

/** Squares and multiplies. */
function wholePower(base: Scaled, exponent: bigint): Scaled {
  let result: Scaled = { digits: 1n, exponent: 0n };
  let square = base;
  for (let left = exponent; left > 0n; left >>= 1n) {
    if ((left & 1n) === 1n) result = product(result, square);
    square = product(square, square);
  }
  return result;
}

/** Returns the square root, by Newton's method. */
function rootOf({ digits, exponent }: Scaled): Scaled {
  const shift = 2n * PRECISION + (exponent & 1n);
  const square = digits << shift;
  let root = 1n << (bitsIn(square) / 2n + 1n);
  for (let next = (root + square / root) >> 1n; next < root; next = (root + square / root) >> 1n) root = next;
  return { digits: root, exponent: (exponent - shift) / 2n };
}

function inverse({ digits, exponent }: Scaled): Scaled {
  const shift = PRECISION + bitsIn(digits);
  return { digits: (1n << shift) / digits, exponent: -exponent - shift };
}

/** The C library may round a result in another direction if it is this near to the middle between two floats. */
const UNSURE = 0.02;

/** Rounds to a float. @throws if it is too large, or if the C library may round in another direction */
function rounded({ digits, exponent }: Scaled): number {
  const first = bitsIn(digits) + exponent;
  if (first > 1024n) throw new Error('numerical result out of range');
  if (first < -1080n) return 0;
  // The last bit of a float: of the 53 bits of normal numbers, or 2^-1074.
  const last = first - 53n < -1074n ? -1074n : first - 53n;
  const dropped = last - exponent;
  if (dropped <= 0n) return Number(digits) * 2 ** Number(exponent);
  const kept = digits >> dropped;
  const rest = digits - (kept << dropped);
  const share = Number((rest << 60n) >> dropped) / 2 ** 60;
  if (Math.abs(share - 0.5) < UNSURE) throw new Error('the last digit of this power depends on the C library');
  const result = Number(share > 0.5 ? kept + 1n : kept) * 2 ** Number(last);
  if (!Number.isFinite(result)) throw new Error('numerical result out of range');
  return result;
}

/**
 * Returns `base ** exponent` as Python does: the exact power, rounded once.
 *
 * @throws for a result that is too large, whose last digit depends on the C library, and for an exponent that is
 *   neither whole nor half of a whole number
 */
export function floatPower(base: number, exponent: number): number {
  // Python defines 1 ** x as 1 for every x.
  if (base === 1) return 1;
  if (base === 0 || exponent === 0 || !Number.isFinite(base) || !Number.isFinite(exponent)) return base ** exponent;
  const doubled = 2 * exponent;
  if (!Number.isInteger(doubled)) throw new Error('a power is supported only with an exponent such as 3, -2 or 0.5');
  const isOdd = exponent % 2 !== 0;
  const positive = scaledOf(Math.abs(base));
  const isWhole = Number.isInteger(exponent);
  const power = isWhole
    ? wholePower(positive, BigInt(Math.abs(exponent)))
    : wholePower(rootOf(positive), BigInt(Math.abs(doubled)));
  const absolute = rounded(exponent < 0 ? inverse(power) : power);
  return base < 0 && isOdd ? -absolute : absolute;
}
