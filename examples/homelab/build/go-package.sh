echo "unpacking source archive $name.tar.gz"
echo "Running phase: buildPhase"
echo "Building subPackage ./cmd/${name%-*}"
sleep "$seconds"

# Compare by major and minor version, as the go command does.
IFS=. read -r wantMajor wantMinor <<MOD
$goMod
MOD
IFS=. read -r haveMajor haveMinor havePatch <<VERSION
$goVersion
VERSION
if [ "$haveMajor" -lt "$wantMajor" ] || [ "$haveMinor" -lt "$wantMinor" ]; then
  echo "go: go.mod requires go >= $goMod (running go $goVersion; GOTOOLCHAIN=local)" >&2
  echo "error: $name: buildPhase failed" >&2
  exit 1
fi

echo "ok  ./cmd/${name%-*}  ${seconds}s"
echo "installing to $out"
mkdir -p "$out/bin"
echo "$name, built with go $goVersion" > "$out/bin/${name%-*}"
