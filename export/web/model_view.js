// Shows which model is loaded; without one the page's panels rest.

const byId = (id) => document.getElementById(id);

/**
 * @param {Model|null} model
 * @param {string} name of its file.
 */
export function showModel(model, name) {
  byId('main').inert = !model;
  for (const id of ['example', 'example-pictures', 'open', 'reset']) byId(id).disabled = !model;
  byId('accelerator').value = model?.accelerator ?? 'wasm';
  byId('model-status').textContent = model ? `${name}: ${summary(model)}` : 'No model is loaded.';
}

function summary({ accelerator, description }) {
  const { trained_on: data, backbone, way, image_size: size, num_steps: steps, gradient_network: head } = description;
  return (
    `${backbone.name}${data ? ` trained on ${data}` : ''}, ${size} × ${size} pixels, ` +
    `${head === 'joint' ? 'exactly' : 'up to'} ${way} classes, K = ${steps} steps, ` +
    `on the ${accelerator === 'webgpu' ? 'GPU (WebGPU)' : 'CPU (WebAssembly)'}.`
  );
}
