// The camera: whether there is one, its picture in a video element, and one frame of it.

const NONE = 'No camera was found on this device.';
let noneFound = false;

/**
 * Why no camera can be used, as a sentence; null if one can, or may: some browsers tell of cameras only to pages that
 * were allowed to use one, and asking for that is for a button.
 */
export async function cameraProblem() {
  if (!navigator.mediaDevices?.getUserMedia) {
    return 'No camera: the browser allows it only on https or localhost.';
  }
  const devices = await navigator.mediaDevices.enumerateDevices().catch(() => []);
  if (devices.some(({ kind }) => kind === 'videoinput')) return null;
  // A browser that tells of other devices, or was allowed to, tells of all.
  return devices.length || noneFound || (await isAllowed()) ? NONE : null;
}

async function isAllowed() {
  try {
    return (await navigator.permissions.query({ name: 'camera' })).state === 'granted';
  } catch {
    return false; // Not every browser knows this question.
  }
}

/**
 * Shows the camera in `video`.
 *
 * @return {Promise<function()>} stops it and puts its light out.
 * @throws {Error} the message says why there is no picture, and the way out.
 */
export async function startCamera(video) {
  let stream;
  try {
    stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: 'environment' }, audio: false });
  } catch (error) {
    noneFound = error.name === 'NotFoundError';
    if (noneFound) throw new Error(NONE);
    throw new Error(
      error.name === 'NotAllowedError'
        ? 'The camera may not be used; allow it for this page in the browser\'s settings.'
        : `The camera gives no picture (${error.message || error.name}); close other programs that use it.`,
    );
  }
  const stop = () => stream.getTracks().forEach((track) => track.stop());
  try {
    video.srcObject = stream;
    await video.play();
  } catch (error) {
    stop();
    throw new Error(`The camera gives no picture (${error.message}).`);
  }
  return () => {
    stop();
    video.srcObject = null;
  };
}
