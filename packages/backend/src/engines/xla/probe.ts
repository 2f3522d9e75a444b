import { XlaClient } from './client.js';
import { clientOptions } from './options.js';
import { loadPjrt } from './pjrt.js';

/**
 * Loads a PJRT plugin and returns its API version, platform and devices.
 *
 * @throws `BACKEND_UNAVAILABLE` with the reason
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
