import { clone, mul, reshape, type Tensor } from '@tensorflow/tfjs-core';
import type { AdapterFiles, LanguageModel, LinearSite, PreparedAdapter, Problem } from '@whetstone/core/contract';
import { readFields, shapeProblem, tensorFile, throwProblems } from '../adapters/adapter-files.js';
import { missingParameters, pathOfKey, peftPrefix, savedSelectionOf } from '../lora/from-peft.js';
import { borrowParameters } from '../lora/saved-modules.js';
import { assignBases, storeParameter, unknownModule, type StoredParameters } from '../lora/stored-parameters.js';
import { modulesOfFields } from '../lora/stored-targets.js';
import { matchesName } from '@whetstone/core/util';
import { withHeadOf } from '../support/merged-weights.js';
import { assignCopy } from '../support/unfreeze.js';
import { withOneSize } from '../support/vocabulary-size.js';
import { compilePattern } from '../support/compile-pattern.js';

/** One layer whose output, or input in feed-forward layers, IA3 scales. */
interface Ia3Layer {
  readonly site: LinearSite;
  readonly scale: Tensor;
  readonly isFeedforward: boolean;
}

/** An IA3 adapter that was read for a model. */
interface Ia3Adapter extends StoredParameters {
  readonly layers: readonly Ia3Layer[];
}

/** Reads an IA3 adapter (Liu et al. 2022). @throws `ADAPTER_INVALID` if it does not match the model */
function readIa3Adapter(model: LanguageModel, files: AdapterFiles): Ia3Adapter {
  const fields = readFields(files);
  const feedforward = fields.stringOrStrings('feedforward_modules') ?? [];
  const isFeedforward = (name: string): boolean =>
    typeof feedforward === 'string'
      ? compilePattern(`^(?:${feedforward})$`, 'feedforward_modules', feedforward).test(name)
      : matchesName(name, feedforward);
  const problems: Problem[] = [...fields.problems];
  const layers: Ia3Layer[] = [];
  const stored: StoredParameters = { bases: new Map(), replaced: new Map() };
  const selection = savedSelectionOf(fields);
  for (const [key, scale] of files.tensors) {
    const path = pathOfKey(key);
    if (path.includes('.original_module.')) continue;
    if (!path.endsWith('.ia3_l')) {
      const problem = storeParameter(model, { key, path, tensor: scale }, selection, files, stored);
      if (problem !== null) problems.push(problem);
      continue;
    }
    const name = path.replace(/\.ia3_l$/, '');
    const site = model.linearSites.get(name);
    if (site === undefined) {
      problems.push(unknownModule(key, files));
      continue;
    }
    const scalesInput = isFeedforward(name);
    const problem = shapeProblem(key, scale, scalesInput ? [1, site.inFeatures] : [site.outFeatures, 1], files);
    if (problem === null) layers.push({ site, scale, isFeedforward: scalesInput });
    else problems.push(problem);
  }
  const selected = modulesOfFields(model, {
    targetModules: fields.stringOrStrings('target_modules') ?? [],
    excludeModules: fields.stringOrStrings('exclude_modules'),
    modulesToSave: fields.strings('modules_to_save'),
    layersToTransform: null,
    layersPattern: null,
  });
  const adapted = new Set(layers.map(({ site }) => site.name));
  for (const name of selected ?? [])
    if (!adapted.has(name) && model.linearSites.has(name))
      problems.push({
        message: 'A tensor is missing: the configuration selects this module.',
        place: { file: tensorFile(files.folder), tensor: `${peftPrefix}${name}.ia3_l` },
      });
  for (const name of adapted)
    if (selected !== null && !selected.has(name))
      problems.push({
        message: 'The configuration does not select this module, so that PEFT would ignore its tensors.',
        place: { file: tensorFile(files.folder), tensor: `${peftPrefix}${name}.ia3_l` },
        hint: 'Correct target_modules or exclude_modules in adapter_config.json.',
      });
  problems.push(...missingParameters(model, selection, stored, files));
  throwProblems(withOneSize(problems), files);
  return { layers, ...stored };
}

/** Reads an IA3 adapter for a model. @throws `ADAPTER_INVALID` if it does not match the model */
export function prepareIa3(model: LanguageModel, files: AdapterFiles): PreparedAdapter {
  const { layers, bases, replaced } = readIa3Adapter(model, files);
  return {
    dispose: () => {},
    attach: () => {
      const undo = [assignBases(model, bases)];
      for (const { site, scale, isFeedforward } of layers)
        undo.push(
          site.wrap((base) => (input) => {
            const flat = reshape(scale, [-1]);
            return isFeedforward ? base(mul(input, flat)) : mul(base(input), flat);
          }),
        );
      const borrowed = borrowParameters(model, [...replaced.keys()], false);
      for (const [name, parameter] of borrowed.parameters) assignCopy(parameter, replaced.get(name) ?? parameter);
      undo.push(borrowed.dispose);
      return () => {
        for (const step of undo.reverse()) step();
      };
    },
  };
}

/** Computes the weights merged with IA3. @throws `ADAPTER_INVALID` if it does not match the model */
export function mergeIa3(model: LanguageModel, files: AdapterFiles): Map<string, Tensor> {
  const { layers, bases, replaced } = readIa3Adapter(model, files);
  const restore = assignBases(model, bases);
  try {
    const weights = new Map([...replaced].map(([name, tensor]) => [name, clone(tensor)]));
    for (const layer of layers) mergeLayer(layer, weights);
    const merged = withHeadOf(model, weights);
    for (const [name, tensor] of bases) if (!merged.has(name)) merged.set(name, clone(tensor));
    return merged;
  } finally {
    restore();
  }
}

/** Adds the scaled weight and bias of a layer. */
function mergeLayer({ site, scale, isFeedforward }: Ia3Layer, weights: Map<string, Tensor>): void {
  // In [out, in], output features are on the first axis and input features on the second.
  const onRows = isFeedforward === site.fanInFanOut;
  const flat = reshape(scale, onRows ? [-1, 1] : [1, -1]);
  weights.set(`${site.name}.weight`, mul(site.weight, flat));
  flat.dispose();
  if (site.bias === null || isFeedforward) return;
  const vector = reshape(scale, [-1]);
  weights.set(`${site.name}.bias`, mul(site.bias, vector));
  vector.dispose();
}
