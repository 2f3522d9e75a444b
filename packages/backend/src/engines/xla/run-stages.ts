import type { LoadedExecutable, XlaClient } from './client.js';
import type { DeviceTensor, DeviceTensors } from './device-tensors.js';
import type { Pointer } from './pjrt.js';
import type { Stages } from './stages.js';

/** What a run of a program is given. */
export interface StagesRun {
  readonly inputs: readonly DeviceTensor[];
  readonly outputs: readonly DeviceTensor[];
  /** Inputs that nobody will ask for again: results may take their memory. */
  readonly spent: ReadonlySet<number>;
  /** Where it runs: on one device, or alike on all. A module for several replicas runs on all, whatever this says. */
  readonly device: number | 'all';
  /** Begins the message where the run fails. */
  readonly subject: string;
}

/** Queues all stages of a program on the device and gives the outputs their buffers. */
export function runStages(
  client: XlaClient,
  tensors: DeviceTensors,
  { stages, modules, leaving }: Stages,
  { inputs, outputs, spent, device, subject }: StagesRun,
): void {
  const replicated: boolean = modules.some(({ lowered }) => lowered.replicas > 1);
  const devices = replicated || device === 'all' ? Array.from({ length: tensors.devices }, (_, on) => on) : [device];
  /** What earlier stages made, by number: one buffer a device. */
  const made = new Map<number, (Pointer | null)[]>();
  const inputAt = (number: number): DeviceTensor => inputs[number] as DeviceTensor;
  const isMade = (number: number): boolean => number >= inputs.length;
  // A result may take an input's memory only where nobody else waits for it: a read that is under way, or work queued
  // behind.
  const isSpent = (number: number): boolean => isMade(number) || (spent.has(number) && inputAt(number).uses === 1);
  const buffersOf = (number: number): (Pointer | null)[] => made.get(number) ?? inputAt(number).buffers;
  const bufferOn = (number: number, on: number): Pointer =>
    (isMade(number) ? buffersOf(number)[on] : null) ?? tensors.bufferOn(inputAt(number), on);
  const release = (number: number): void => {
    for (const buffer of made.get(number) ?? []) if (buffer !== null) client.release(buffer);
    made.delete(number);
  };
  try {
    for (const { module, inputs: numbers, outputs: results, spent: done } of stages) {
      const { arguments: taken, shards, donated } = module.lowered;
      const loaded = module.loaded as LoadedExecutable;
      const numberOn = (place: number, on: number): number => numbers[shards.get(place)?.[on] ?? place] as number;
      const isTaken = (place: number): boolean =>
        donated.has(place) && devices.every((on) => isSpent(numberOn(place, on)));
      const positions = (wanted: boolean): number[] =>
        taken.flatMap((place, position) => (donated.has(place) && isTaken(place) === wanted ? [position] : []));
      const donation = { kept: positions(false), donated: positions(true) };
      // Copies to all devices come first: an execution may take an input's memory, and then there is nothing left to
      // copy.
      const given = devices.map((on) => taken.map((place) => bufferOn(numberOn(place, on), on)));
      results.forEach((number) =>
        made.set(
          number,
          Array.from({ length: tensors.devices }, () => null),
        ),
      );
      const keep = (on: number, list: readonly Pointer[] = []): void => {
        // Handles of what was donated are the client's now.
        for (const position of donation.donated) buffersOf(numberOn(taken[position] as number, on))[on] = null;
        results.forEach((number, position) => (buffersOf(number)[on] = list[position] ?? null));
      };
      // Replicas are one execution on all devices; what is to run alike on all is one execution each.
      if (replicated)
        client.execute(loaded, given, donation, subject).forEach((list, index) => keep(devices[index] ?? 0, list));
      else
        devices.forEach((on, index) =>
          keep(on, client.execute(loaded, [given[index] ?? []], donation, subject, tensors.devices > 1 ? on : null)[0]),
        );
      done.forEach(release);
    }
    leaving.forEach((number, position) => {
      for (const on of devices) (outputs[position] as DeviceTensor).buffers[on] = buffersOf(number)[on] ?? null;
      made.delete(number);
    });
  } finally {
    for (const number of made.keys()) release(number);
  }
}
