/** TensorBoard's event files: protocol buffers of `tensorflow.Event`, framed as TFRecords. Supports only scalars. */

const crcTable = Uint32Array.from({ length: 256 }, (_, byte) => {
  let value = byte;
  for (let bit = 0; bit < 8; bit++) value = value & 1 ? (value >>> 1) ^ 0x82f63b78 : value >>> 1;
  return value;
});

/** Returns the CRC-32C (Castagnoli) as defined in RFC 3720. */
export function crc32c(bytes: Uint8Array): number {
  let value = 0xffffffff;
  for (const byte of bytes) value = (crcTable[(value ^ byte) & 0xff] ?? 0) ^ (value >>> 8);
  return (value ^ 0xffffffff) >>> 0;
}

/**
 * Returns the masked checksum of TFRecord: rotated by 15 bits, plus a constant. This avoids checksums of data that
 * itself contains checksums.
 */
const masked = (bytes: Uint8Array): number => {
  const crc = crc32c(bytes);
  return (((crc >>> 15) | (crc << 17)) + 0xa282ead8) >>> 0;
};

/** Encodes a record: length, checksum of the length, data, checksum of the data; little-endian. */
export function frameRecord(data: Uint8Array): Buffer {
  const record = Buffer.alloc(12 + data.length + 4);
  record.writeBigUInt64LE(BigInt(data.length), 0);
  record.writeUInt32LE(masked(record.subarray(0, 8)), 8);
  record.set(data, 12);
  record.writeUInt32LE(masked(data), 12 + data.length);
  return record;
}

/** Encodes an integer in base 128: seven bits per byte, the lowest first. */
function varint(value: number): Buffer {
  const bytes: number[] = [];
  let rest = BigInt(value);
  do {
    const low = Number(rest & 0x7fn);
    rest >>= 7n;
    bytes.push(rest > 0n ? low | 0x80 : low);
  } while (rest > 0n);
  return Buffer.from(bytes);
}

const wireTypes = { varint: 0, fixed64: 1, lengthDelimited: 2, fixed32: 5 } as const;
const key = (field: number, type: keyof typeof wireTypes): Buffer => varint((field << 3) | wireTypes[type]);

const integerField = (field: number, value: number): Buffer => Buffer.concat([key(field, 'varint'), varint(value)]);
const bytesField = (field: number, value: Uint8Array): Buffer =>
  Buffer.concat([key(field, 'lengthDelimited'), varint(value.length), value]);
function doubleField(field: number, value: number): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeDoubleLE(value);
  return Buffer.concat([key(field, 'fixed64'), bytes]);
}
function floatField(field: number, value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeFloatLE(value);
  return Buffer.concat([key(field, 'fixed32'), bytes]);
}

/** An event. `seconds` is the wall time since 1970. */
export type TensorBoardEvent = { readonly seconds: number; readonly step: number } & (
  | { readonly kind: 'version' }
  /** The run starts or resumes before this step. TensorBoard discards earlier events of this step and later ones. */
  | { readonly kind: 'start' }
  | { readonly kind: 'scalars'; readonly scalars: Readonly<Record<string, number>> }
);

/**
 * Encodes an event as `tensorflow.Event`. Fields: wall_time 1, step 2, file_version 3, summary 5 of values 1 {tag 1,
 * simple_value 2}, session_log 7 {status 1}.
 */
export function encodeEvent(event: TensorBoardEvent): Buffer {
  const head = Buffer.concat([doubleField(1, event.seconds), integerField(2, event.step)]);
  if (event.kind === 'version') return Buffer.concat([head, bytesField(3, Buffer.from('brain.Event:2'))]);
  if (event.kind === 'start') return Buffer.concat([head, bytesField(7, integerField(1, 1))]);
  const values = Object.entries(event.scalars).map(([tag, value]) =>
    bytesField(1, Buffer.concat([bytesField(1, Buffer.from(tag)), floatField(2, value)])),
  );
  return Buffer.concat([head, bytesField(5, Buffer.concat(values))]);
}
