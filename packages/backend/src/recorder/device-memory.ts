import type { Engine, EngineTensor } from '../engines/engine.js';
import type { Value } from './value.js';

interface Allocation {
  readonly tensor: EngineTensor;
  readonly bytes: number;
}

/** Tracks which value owns which tensor on the device, and counts their bytes. */
export class DeviceMemory {
  bytes = 0;
  peakBytes = 0;
  hostToDeviceBytes = 0;
  /** Frees the tensors of values that were garbage-collected without being disposed. */
  private readonly registry: FinalizationRegistry<Allocation>;

  /** @param onCollected called for each value that was garbage-collected without being disposed */
  constructor(
    private readonly engine: Engine,
    onCollected: () => void,
  ) {
    this.registry = new FinalizationRegistry((allocation) => {
      this.free(allocation);
      onCollected();
    });
  }

  adopt(value: Value, tensor: EngineTensor): void {
    value.tensor = tensor;
    this.bytes += value.bytes;
    if (this.bytes > this.peakBytes) this.peakBytes = this.bytes;
    this.registry.register(value, { tensor, bytes: value.bytes }, value);
  }

  /** Adopts a tensor that was uploaded from the host. */
  adoptUploaded(value: Value, tensor: EngineTensor): void {
    this.adopt(value, tensor);
    this.hostToDeviceBytes += value.bytes;
  }

  release(value: Value): void {
    if (value.tensor === null) return;
    this.registry.unregister(value);
    this.free({ tensor: value.tensor, bytes: value.bytes });
    value.tensor = null;
  }

  private free(allocation: Allocation): void {
    this.engine.release(allocation.tensor);
    this.bytes -= allocation.bytes;
  }
}
