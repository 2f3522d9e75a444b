const values = new Float32Array(65_536);
let filled = false;

/** Returns the number that 16 bits of half precision (IEEE 754 binary16) represent. */
export function half(bits: number): number {
  if (!filled) fill();
  return values[bits] ?? NaN;
}

function fill(): void {
  for (let bits = 0; bits < 65_536; bits++) {
    const sign = bits & 0x8000 ? -1 : 1;
    const exponent = (bits >> 10) & 31;
    const fraction = bits & 1023;
    if (exponent === 31) values[bits] = fraction === 0 ? sign * Infinity : NaN;
    else values[bits] = exponent === 0 ? sign * fraction * 2 ** -24 : sign * (1024 + fraction) * 2 ** (exponent - 25);
  }
  filled = true;
}
