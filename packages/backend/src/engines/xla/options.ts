import type { ClientOptions } from './client.js';

/**
 * Options that a plugin's client is started with, told from the plugin's file name. A CPU plugin would make four devices; a GPU
 * plugin would take three quarters of the card's memory at once.
 */
export function clientOptions(plugin: string): ClientOptions {
  if (/cuda|rocm|gpu/i.test(plugin)) return { allocator: 'bfc', preallocate: false };
  if (/cpu/i.test(plugin)) return { cpu_device_count: 1 };
  return {};
}
