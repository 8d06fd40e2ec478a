echo "unpacking source archive $name.tar.xz"
echo "checking for a C compiler... yes"
for dep in $deps; do echo "checking for ${dep#*-}... $dep"; done
sleep "$seconds"
echo "building with 2 cores"
echo "installing to $out"
mkdir -p "$out/bin" "$out/nix-support"
echo "$name" > "$out/bin/${name%-*}"
echo "$deps" > "$out/nix-support/propagated-build-inputs"
