import { XlaClient } from './client.js';
import { clientOptions } from './options.js';
import { loadPjrt } from './pjrt.js';

/**
 * What a PJRT plugin is: its API's version, its platform and its devices. Throws `BACKEND_UNAVAILABLE` with the reason
 * where it cannot be loaded.
 */
export function probeXla(plugin: string): {
  readonly api: string;
  readonly platform: string;
  readonly version: string;
  readonly device: string;
  readonly devices: number;
} {
  const pjrt = loadPjrt(plugin);
  const client = new XlaClient(pjrt, clientOptions(plugin));
  return {
    api: pjrt.version,
    platform: client.platform,
    version: client.platformVersion,
    device: client.deviceKind,
    devices: client.deviceCount,
  };
}
