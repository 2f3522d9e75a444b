import { engine, env, getGradient, getKernel, Tensor, type NamedAttrMap, type NamedTensorMap, type TensorInfo } from '@tensorflow/tfjs-core';
import type { WhetstoneBackend } from './backend.js';

type Engine = ReturnType<typeof engine>;

/** What of tfjs-core's engine its types do not show. */
interface Inner {
  addTapeNode(kernelName: string, inputs: NamedTensorMap, outputs: Tensor[], gradient: null, saved: Tensor[], attributes: NamedAttrMap | undefined): void;
  saveTensorsForBackwardMode(tensors: readonly Tensor[]): Tensor[];
  track(tensor: Tensor): Tensor;
}

const isLean = Symbol('lean');

/** Which tensors a kernel's gradient wants to see again, as tfjs-core chooses them. */
function wantedByGradient(kernelName: string, inputs: NamedTensorMap, outputs: readonly Tensor[]): Tensor[] {
  const gradient = getGradient(kernelName);
  if (gradient === undefined) return [];
  const { inputsToSave = [], outputsToSave = [], saveAllInputs = false } = gradient;
  const ofInputs = saveAllInputs ? Object.values(inputs) : inputsToSave.map((name) => inputs[name] as Tensor);
  return [...ofInputs, ...outputs.filter((_, position) => outputsToSave[position])];
}

/**
 * Has tfjs-core's engine call the kernels of our backend and end scopes of one result on a short way. Its own makes a dozen closures, three lookups by joined names and some sets for every operation,
 * and saves each operand of a gradient with an operation and a place on the tape, which only a gradient of a gradient needs. Where tfjs-core profiles, debugs or looks for leaks,
 * and for every other backend, all goes its own way.
 */
export function keepEngineLean(backendName: string): void {
  const whole = engine() as Engine & { [isLean]?: true };
  if (whole[isLean] === true) return;
  whole[isLean] = true;
  const inner = whole as unknown as Inner;
  const runWhole = whole.runKernel.bind(whole);
  const endWhole = whole.endScope.bind(whole);

  const save = (tensors: readonly Tensor[], backend: WhetstoneBackend): Tensor[] => {
    // The tape of an outer gradient sees what an inner one saved.
    if (whole.state.gradientDepth > 1) return inner.saveTensorsForBackwardMode(tensors);
    return tensors.map((tensor) => {
      const holder = whole.state.tensorInfo.get(tensor.dataId)?.backend ?? backend;
      holder.incRef(tensor.dataId);
      const shared = whole.makeTensorFromTensorInfo(tensor, holder);
      shared.kept = true;
      return shared;
    });
  };

  whole.runKernel = <T extends Tensor | Tensor[]>(kernelName: string, inputs: NamedTensorMap, attributes?: NamedAttrMap): T => {
    const { state } = whole;
    const flags = env();
    if (whole.backendName !== backendName || state.profiling || flags.getBool('IS_TEST') || flags.getBool('DEBUG')) return runWhole(kernelName, inputs, attributes);
    const kernel = getKernel(kernelName, backendName);
    if (kernel === undefined) return runWhole(kernelName, inputs, attributes);
    const backend = whole.backend as WhetstoneBackend;
    const isTaped = state.gradientDepth > 0 && state.kernelDepth === 0;
    let saved: Tensor[] = [];
    let made: TensorInfo | TensorInfo[];
    let outputs: Tensor[];
    state.kernelDepth++;
    try {
      made = kernel.kernelFunc({ inputs, attrs: attributes as NamedAttrMap, backend });
      outputs = Array.isArray(made) ? made.map((info) => tensorOf(info)) : [tensorOf(made)];
      if (isTaped) saved = save(wantedByGradient(kernelName, inputs, outputs), backend);
    } finally {
      state.kernelDepth--;
    }
    if (isTaped) inner.addTapeNode(kernelName, inputs, outputs, null, saved, attributes);
    return (Array.isArray(made) ? outputs : outputs[0]) as T;
  };

  // A kernel written with tfjs-core's operations gives tensors.
  const tensorOf = (info: TensorInfo): Tensor => (info instanceof Tensor ? info : whole.makeTensorFromTensorInfo(info));

  whole.endScope = (result) => {
    const isOne = result instanceof Tensor;
    if (!isOne && !isTensors(result)) {
      endWhole(result);
      return;
    }
    const { state } = whole;
    const scope = state.activeScope;
    for (const tensor of scope.track) {
      if (!tensor.kept && (isOne ? tensor.id !== result.id : !result.includes(tensor))) tensor.dispose();
    }
    state.scopeStack.pop();
    state.activeScope = state.scopeStack.at(-1) as typeof scope;
    for (const tensor of isOne ? [result] : new Set(result)) if (!tensor.kept && tensor.scopeId === scope.id) inner.track(tensor);
  };
}

/** More than a handful are found faster in a set. */
const FEW = 8;

function isTensors(result: unknown): result is readonly Tensor[] {
  return Array.isArray(result) && result.length <= FEW && result.every((item) => item instanceof Tensor);
}
