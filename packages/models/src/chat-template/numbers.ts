/** Exact decimal digits of floats, rounded half to even as in Python. */
import { countRead, exceeded } from './bounds.js';

/** Returns a positive float as the fraction numerator ÷ 2^shift. */
function fractionOf(number: number): { readonly numerator: bigint; readonly shift: number } {
  let shift = 0;
  let scaled = number;
  while (!Number.isInteger(scaled)) {
    scaled *= 2;
    shift++;
  }
  return { numerator: BigInt(scaled), shift };
}

/** Divides and rounds half to even. Both numbers are not negative. */
function divideHalfEven(numerator: bigint, denominator: bigint): bigint {
  const quotient = numerator / denominator;
  const twice = 2n * (numerator % denominator);
  return twice > denominator || (twice === denominator && quotient % 2n === 1n) ? quotient + 1n : quotient;
}

/** Returns `|number| · 10^digits`, rounded to an integer; digits may be negative. */
function scaledInteger(number: number, digits: number): bigint {
  const { numerator, shift } = fractionOf(Math.abs(number));
  const power = 10n ** BigInt(Math.abs(digits));
  const denominator = 1n << BigInt(shift);
  return digits >= 0 ? divideHalfEven(numerator * power, denominator) : divideHalfEven(numerator, denominator * power);
}

const MAX_DIGITS = 1000;

/** Counts a number that is formatted. @throws `BoundExceeded` if it has too many digits */
function countNumber(digits: number): void {
  if (digits > MAX_DIGITS) exceeded('A precision of the template is too large', MAX_DIGITS, 'digits');
  countRead(500);
}

/** Formats a finite float with a number of decimals, without its sign. */
export function fixed(number: number, digits: number): string {
  countNumber(digits);
  const written = scaledInteger(number, digits)
    .toString()
    .padStart(digits + 1, '0');
  return digits === 0 ? written : `${written.slice(0, -digits)}.${written.slice(-digits)}`;
}

/** Returns the significant digits of a finite float, rounded, and the exponent of the first, without its sign. */
function significant(number: number, count: number): { readonly digits: string; readonly exponent: number } {
  if (number === 0) return { digits: '0'.repeat(count), exponent: 0 };
  let exponent = Math.floor(Math.log10(Math.abs(number)));
  for (let attempt = 0; attempt < 3; attempt++) {
    const digits = scaledInteger(number, count - 1 - exponent).toString();
    if (digits.length === count) return { digits, exponent };
    exponent += digits.length - count;
  }
  throw new Error('the number cannot be formatted');
}

/** Formats a finite float as `d.ddde+xx`, without its sign. */
export function exponential(number: number, digits: number): string {
  countNumber(digits);
  const { digits: written, exponent } = significant(number, digits + 1);
  const mantissa = digits === 0 ? written : `${written.charAt(0)}.${written.slice(1)}`;
  return `${mantissa}e${exponent < 0 ? '-' : '+'}${String(Math.abs(exponent)).padStart(2, '0')}`;
}

/** Implements the format `g` of C, without the sign; `keepZeros` for the flag `#`. */
export function general(number: number, precision: number, keepZeros: boolean): string {
  const count = Math.max(1, precision);
  countNumber(count);
  const { exponent } = significant(number, count);
  const isFixed = exponent >= -4 && exponent < count;
  const written = isFixed ? fixed(number, count - 1 - exponent) : exponential(number, count - 1);
  if (keepZeros) return written;
  const [mantissa = '', power] = written.split('e');
  const short = mantissa.includes('.') ? mantissa.replace(/\.?0+$/, '') : mantissa;
  return power === undefined ? short : `${short}e${power}`;
}

/** Implements Python's `round(number, digits)` for a float. */
export function roundFloat(number: number, digits: number): number {
  if (!Number.isFinite(number) || digits > 330) return number;
  if (digits < -330) return number < 0 ? -0 : 0;
  const rounded =
    digits >= 0 ? Number(fixed(number, digits)) : Number(scaledInteger(number, digits) * 10n ** BigInt(-digits));
  return number < 0 || Object.is(number, -0) ? -rounded : rounded;
}

/** Implements Python's `round(number, digits)` for an integer. */
export function roundInteger(number: bigint, digits: number): bigint {
  if (digits >= 0) return number;
  const power = 10n ** BigInt(Math.min(-digits, MAX_DIGITS));
  const absolute = divideHalfEven(number < 0n ? -number : number, power) * power;
  return number < 0n ? -absolute : absolute;
}
