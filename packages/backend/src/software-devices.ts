/** Names of processors and of software that stands in for a GPU, in the platform or the kind of a device. */
const software = /\b(?:x?cpu|host|interpreter|reference|llvmpipe|lavapipe|softpipe|swiftshader|pocl|warp|software)\b/i;

/** Returns whether a device computes on the processor: it is one, or software that stands in for a GPU. */
export function isSoftwareDevice(platform: string, kind: string): boolean {
  return software.test(platform) || software.test(kind) || /microsoft basic render/i.test(kind);
}
