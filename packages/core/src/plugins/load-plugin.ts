import { existsSync } from 'node:fs';
import { isBuiltin } from 'node:module';
import { isAbsolute, resolve } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { WhetstoneError, type Plugin, type PluginKind } from '../contract/index.js';
import type { PluginRegistry } from './registry.js';
import { defaultExport } from './default-export.js';
import { importShared, type SharedModules } from './shared-modules.js';
import { pluginsOf } from './validate-plugin.js';
import { didYouMean, messageOf } from '../util/index.js';

export interface LoadPluginOptions {
  readonly registry: PluginRegistry;
  /** The folder of the configuration. Files are relative to it, and packages are resolved from it. */
  readonly baseFolder: string;
  readonly sharedModules?: SharedModules;
}

const isFile = (use: string) => /^\.{1,2}[\\/]/.test(use) || isAbsolute(use) || use.startsWith('file:');
const isPackageName = (use: string) => /^(?:@[\w.~-]+\/)?[\w.~-]+(?:\/[\w.~/-]+)?$/.test(use);

/**
 * Returns the plugin that `use` names: a registered plugin, an npm package, or a local JavaScript or TypeScript file.
 * Packages are resolved from the configuration's folder. If a module exports several plugins of the kind, `module#name`
 * selects one. A loaded plugin is added to the registry.
 *
 * @throws `PLUGIN_NOT_FOUND` if no plugin, package or file matches, or several plugins match
 * @throws `PLUGIN_INVALID` if the module cannot be imported (`cause` is its error) or does not export a valid plugin
 * @throws `PLUGIN_CONFLICT` if a different plugin has the same kind and name
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
  const found = plugins.map((plugin) => `${plugin.kind} '${plugin.name}'`).join(', ');
  if (only !== undefined) {
    throw new WhetstoneError('PLUGIN_NOT_FOUND', `${origin} contains several plugins of kind ${kind}.`, {
      found,
      hint: `Name one of them, for example "${origin}#${only.name}".`,
      details: { kind, origin },
    });
  }
  if (ofKind.length > 0 && name !== undefined) {
    throw new WhetstoneError(
      'PLUGIN_NOT_FOUND',
      `${origin} does not contain a plugin of kind ${kind} with the name '${name}'.`,
      {
        found,
        hint: didYouMean(
          name,
          ofKind.map((plugin) => plugin.name),
        ),
        details: { kind, origin },
      },
    );
  }
  throw new WhetstoneError('PLUGIN_INVALID', `${origin} does not contain a plugin of kind ${kind}.`, {
    expected: `a plugin of kind ${kind}`,
    found,
    details: { kind, origin },
  });
}

async function importFile(use: string, { baseFolder, sharedModules = {} }: LoadPluginOptions): Promise<unknown> {
  const file = use.startsWith('file:') ? fileURLToPath(use) : resolve(baseFolder, use);
  if (!existsSync(file))
    throw new WhetstoneError('PLUGIN_NOT_FOUND', `The plugin file ${use} does not exist.`, {
      place: { file },
      hint: 'Paths are relative to the folder of the configuration.',
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
        ? 'If it is an npm package, install it in the folder of the configuration. Check its name and author first: ' +
          'anyone can publish a package under an unused name, and an installed package can run code.'
        : undefined,
      suggestion === undefined && existsSync(resolve(baseFolder, use)) ? `If it is a file, write ./${use}` : undefined,
    ].filter((hint) => hint !== undefined);
    return new WhetstoneError('PLUGIN_NOT_FOUND', `The ${kind} '${use}' was not found.`, {
      expected:
        known.length > 0
          ? `one of ${known.join(', ')}; a package; or a file, for example ./mine.ts`
          : 'a package, or a file, for example ./mine.ts',
      found: JSON.stringify(use),
      ...(hints.length > 0 ? { hint: hints.join(' ') } : {}),
      details: { kind, use, known },
      cause,
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
      hint: 'Often a dependency of the package is not installed.',
      details: { kind, use, url },
      cause,
    });
  }
}
