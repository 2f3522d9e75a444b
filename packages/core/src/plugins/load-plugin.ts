import { existsSync } from 'node:fs';
import { isBuiltin } from 'node:module';
import { isAbsolute, resolve } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { WhetstoneError, type Plugin, type PluginKind } from '../contract/index.js';
import { didYouMean } from '../config/did-you-mean.js';
import type { PluginRegistry } from './registry.js';
import { importShared, type SharedModules } from './shared-modules.js';
import { pluginsOf } from './validate-plugin.js';
import { messageOf } from '../util/index.js';

export interface LoadPluginOptions {
  readonly registry: PluginRegistry;
  /** Folder of the configuration: files are relative to it, and packages are looked for from it. */
  readonly baseFolder: string;
  readonly sharedModules?: SharedModules;
}

const isFile = (use: string) => /^\.{1,2}[\\/]/.test(use) || isAbsolute(use) || use.startsWith('file:');
const isPackageName = (use: string) => /^(?:@[\w.~-]+\/)?[\w.~-]+(?:\/[\w.~/-]+)?$/.test(use);

/**
 * The plugin that `use` names: a registered one, an npm package seen from the configuration's folder, or a local file
 * (TypeScript too). Of a module with several plugins of the kind, `module#name` names one. What was loaded is added to
 * the registry.
 *
 * @throws WhetstoneError `PLUGIN_NOT_FOUND`, `PLUGIN_INVALID` (the cause of a failed import is kept), `PLUGIN_CONFLICT`
 */
export async function loadPlugin(kind: PluginKind, use: string, options: LoadPluginOptions): Promise<Plugin> {
  const { registry } = options;
  const registered = registry.find(kind, use);
  if (registered !== undefined) return registered;
  const [specifier = '', name] = splitName(use);
  const exported = isFile(specifier)
    ? await importFile(specifier, options)
    : await importPackage(kind, specifier, options);
  const plugin = choose(pluginsOf(exported, specifier), kind, name, specifier);
  registry.add(plugin, specifier);
  return plugin;
}

function splitName(use: string): readonly [string, string | undefined] {
  const at = use.lastIndexOf('#');
  return at > 0 ? [use.slice(0, at), use.slice(at + 1)] : [use, undefined];
}

function choose(plugins: readonly Plugin[], kind: PluginKind, name: string | undefined, origin: string): Plugin {
  const ofKind = plugins.filter((plugin) => plugin.kind === kind);
  const [only, second] = name === undefined ? ofKind : ofKind.filter((plugin) => plugin.name === name);
  if (only !== undefined && second === undefined) return only;
  const holds = plugins.map((plugin) => `${plugin.kind} '${plugin.name}'`).join(', ');
  if (only !== undefined) {
    throw new WhetstoneError('PLUGIN_NOT_FOUND', `${origin} holds several plugins of kind ${kind}.`, {
      found: holds,
      hint: `Name one, as "${origin}#${only.name}".`,
      details: { kind, origin },
    });
  }
  if (ofKind.length > 0 && name !== undefined) {
    throw new WhetstoneError(
      'PLUGIN_NOT_FOUND',
      `${origin} holds no plugin of kind ${kind} that is called '${name}'.`,
      {
        found: holds,
        hint: didYouMean(
          name,
          ofKind.map((plugin) => plugin.name),
        ),
        details: { kind, origin },
      },
    );
  }
  throw new WhetstoneError('PLUGIN_INVALID', `${origin} holds no plugin of kind ${kind}.`, {
    expected: `a plugin of kind ${kind}`,
    found: holds,
    details: { kind, origin },
  });
}

/** The default export of a module; of a CommonJS module what it exports. */
function defaultExport(module: unknown): unknown {
  const namespace = module as { readonly default?: unknown } | null;
  const exported = namespace?.default ?? module;
  // A CommonJS module that was compiled from ES syntax keeps its default export one level deeper.
  const inner = exported as { readonly __esModule?: unknown; readonly default?: unknown } | null;
  return inner?.__esModule === true && inner.default !== undefined ? inner.default : exported;
}

async function importFile(use: string, { baseFolder, sharedModules = {} }: LoadPluginOptions): Promise<unknown> {
  const file = use.startsWith('file:') ? fileURLToPath(use) : resolve(baseFolder, use);
  if (!existsSync(file))
    throw new WhetstoneError('PLUGIN_NOT_FOUND', `The plugin file ${use} does not exist.`, {
      place: { file },
      hint: 'Files are relative to the folder of the configuration.',
    });
  try {
    const { createJiti } = await import('jiti');
    const jiti = createJiti(pathToFileURL(file).href, {
      fsCache: false,
      interopDefault: false,
      virtualModules: await importShared(sharedModules),
    });
    return defaultExport(await jiti.import(file));
  } catch (cause) {
    throw new WhetstoneError('PLUGIN_INVALID', `The plugin file ${use} cannot be loaded: ${messageOf(cause)}`, {
      place: { file },
      cause,
    });
  }
}

async function importPackage(
  kind: PluginKind,
  use: string,
  { registry, baseFolder }: LoadPluginOptions,
): Promise<unknown> {
  const known = registry.names(kind);
  const notFound = (cause?: unknown) => {
    const suggestion = didYouMean(use, known);
    const others = registry.plugins.filter((plugin) => plugin.name === use).map((plugin) => plugin.kind);
    const hints = [
      suggestion,
      others.length > 0 ? `'${use}' is a ${others.join(' and a ')}, not a ${kind}.` : undefined,
      suggestion === undefined && isPackageName(use)
        ? `If it is an npm package, install it beside the configuration: npm install ${use}`
        : undefined,
      suggestion === undefined && existsSync(resolve(baseFolder, use)) ? `If it is a file, write ./${use}` : undefined,
    ].filter((hint) => hint !== undefined);
    return new WhetstoneError('PLUGIN_NOT_FOUND', `There is no ${kind} called '${use}'.`, {
      expected:
        known.length > 0
          ? `one of ${known.join(', ')}; a package; or a file as ./mine.ts`
          : 'a package, or a file as ./mine.ts',
      found: JSON.stringify(use),
      ...(hints.length > 0 ? { hint: hints.join(' ') } : {}),
      details: { kind, use, known },
      ...(cause === undefined ? {} : { cause }),
    });
  };
  if (!isPackageName(use) || isBuiltin(use)) throw notFound();
  const { createJiti } = await import('jiti');
  const jiti = createJiti(pathToFileURL(resolve(baseFolder, 'run.json')).href);
  const url = jiti.esmResolve(use, { try: true });
  if (url === undefined || url === '') throw notFound();
  try {
    return defaultExport(await import(/* @vite-ignore */ url));
  } catch (cause) {
    throw new WhetstoneError('PLUGIN_INVALID', `The package ${use} cannot be loaded: ${messageOf(cause)}`, {
      hint: 'The cause is below; it is often a dependency of the package that is not installed.',
      details: { kind, use, url },
      cause,
    });
  }
}
