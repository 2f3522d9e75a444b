/** Returns the bytes of a typed array. They share its memory. */
export const bytesOf = ({ buffer, byteOffset, byteLength }: ArrayBufferView): Uint8Array =>
  new Uint8Array(buffer, byteOffset, byteLength);

/** Formats bytes in powers of ten: `274 MB`, `1.2 GB`. */
export function formatBytes(count: number): string {
  if (count >= 1e9) return `${(count / 1e9).toFixed(1)} GB`;
  if (count >= 1e6) return `${Math.round(count / 1e6)} MB`;
  return `${Math.max(0, Math.round(count / 1e3))} kB`;
}
