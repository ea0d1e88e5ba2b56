// Clip by clip: executed share against motion, a marker a clip, its class in colour and shape.
const CLIP = Object.fromEntries(DATA.clouds.fields.map((name, i) => [name, i]));
const viewed = { trial: 0, label: 0 };

function tellClip(clip, trial) {
  return [
    clip[CLIP.name],
    `${trial.classes[clip[CLIP.label]]}, predicted ${clip[CLIP.is_right] ? "right" : "wrong"}`,
    `executed: ${(100 * clip[CLIP.share]).toFixed(1)} % of dense`,
    `motion: ${clip[CLIP.motion].toFixed(1)} grey levels a frame`,
  ].join("\n");
}

function drawClip(plot, clip, trial) {
  const isChosen = !viewed.label || clip[CLIP.label] === viewed.label - 1;
  const x = plot.x(clip[CLIP.motion]), y = plot.y(100 * clip[CLIP.share]);
  const marker = mark(DATA.clouds.looks[clip[CLIP.label]], x, y, Boolean(clip[CLIP.is_right]), isChosen ? 0.85 : 0.12);
  marker.setAttribute("class", isChosen ? "clip" : "clip faint");
  plot.svg.append(marker);
  return isChosen ? [{ x, y, isCell: true, tell: () => tellClip(clip, trial) }] : [];
}

function drawClips() {
  const host = document.getElementById("cloud");
  if (!host) return;
  const trial = DATA.clouds.trials[viewed.trial], legend = document.getElementById("cloud-legend");
  const figure = element("figure"), shares = trial.clips.map((clip) => 100 * clip[CLIP.share]);
  figure.append(element("figcaption", {}, trial.name));
  host.replaceChildren(figure);
  const across = span(trial.clips.map((clip) => clip[CLIP.motion]), 0.05);
  const label = "executed, % of dense";
  const plot = new Plot(Math.max(240, host.clientWidth - 16), 320, [Math.max(0, across[0]), across[1]],
    span(shares, 0.08), `${trial.name}: ${label} against motion, ${trial.clips.length} clips; arrow keys step through them`);
  plot.axes("motion, grey levels from frame to frame", label);
  if (trial.mean !== null) {
    const y = plot.y(100 * trial.mean);
    plot.svg.append(shape("line", { class: "reference", x1: plot.left, x2: plot.width - plot.right, y1: y, y2: y }));
  }
  figure.append(plot.svg);
  const ordered = [...trial.clips].sort((a, b) => (a[CLIP.label] === viewed.label - 1) - (b[CLIP.label] === viewed.label - 1));
  pointable(figure, plot, ordered.flatMap((clip) => drawClip(plot, clip, trial)));
  legend.replaceChildren(...trial.classes.map((name, i) => {
    const told = element("span");
    told.append(sample(DATA.clouds.looks[i]), element("span", {}, name));
    return told;
  }));
}

function clipControls() {
  const controls = document.getElementById("cloud-controls"), trials = DATA.clouds.trials;
  const classes = ["all", ...trials[viewed.trial].classes];
  const chosen = [];
  if (trials.length > 1) {
    chosen.push(choice("Trial", trials.map((trial) => trial.name), (i) => {
      Object.assign(viewed, { trial: i, label: 0 });
      clipControls();
      controls.querySelector("select").focus();
      drawClips();
    }, viewed.trial));
  }
  chosen.push(choice("Class", classes, (i) => { viewed.label = i; drawClips(); }, viewed.label));
  controls.replaceChildren(...chosen);
}

if (DATA.clouds.trials.length) clipControls();
