/** The safetensors format is implemented in core, which also uses it for checkpoints. */
export * from '@whetstone/core/safetensors';
