/** A wheel's file name, its bytes and its SHA-256, as the Python package index publishes them. Name, version and platform are in the file name. */
type PublishedFile = readonly [fileName: string, bytes: number, sha256: string];

/** Kinds of accelerator whose plugin can be fetched. */
export type AcceleratorKind = 'cuda12' | 'cuda13' | 'rocm7';

/**
 * By kind and `process.platform`-`process.arch`: JAX's PJRT plugin first, then NVIDIA's libraries that JAX's own extra `with-cuda` asks for beside it.
 * ROCm's libraries are on no index: they are the machine's own.
 */
export const acceleratorFiles: Readonly<Record<AcceleratorKind, Readonly<Record<string, readonly PublishedFile[]>>>> = {
  cuda12: {
    'linux-x64': [
      ['jax_cuda12_pjrt-0.12.0.1-py3-none-manylinux_2_27_x86_64.whl', 191_846_358, '5ec28e06198d094031c37590b4ea753ae8cde4879ab4b60baf40f0dffb673286'],
      ['nvidia_cublas_cu12-12.9.3.13-py3-none-manylinux_2_27_x86_64.whl', 581_217_458, 'd7d51055f161b317c7105ddaae90e71eda059026074ffef93cf7cde2886bfe72'],
      ['nvidia_cuda_cupti_cu12-12.9.79-py3-none-manylinux_2_25_x86_64.whl', 10_814_997, '096bcf334f13e1984ba36685ad4c1d6347db214de03dbb6eebb237b41d9d934f'],
      ['nvidia_cuda_nvcc_cu12-12.9.86-py3-none-manylinux2010_x86_64.manylinux_2_12_x86_64.whl', 40_546_229, '5d6a0d32fdc7ea39917c20065614ae93add6f577d840233237ff08e9a38f58f0'],
      ['nvidia_cuda_runtime_cu12-12.9.79-py3-none-manylinux2014_x86_64.manylinux_2_17_x86_64.whl', 3_493_179, '25bba2dfb01d48a9b59ca474a1ac43c6ebf7011f1b0b8cc44f54eb6ac48a96c3'],
      ['nvidia_cudnn_cu12-9.28.0.42-py3-none-manylinux_2_27_x86_64.whl', 716_538_495, '9ff58b7f36dacd0a93e89f8f2957b52466889217963701daa15e577317cfa375'],
      ['nvidia_cufft_cu12-11.4.1.4-py3-none-manylinux2014_x86_64.manylinux_2_17_x86_64.whl', 200_877_592, 'c67884f2a7d276b4b80eb56a79322a95df592ae5e765cf1243693365ccab4e28'],
      ['nvidia_cusolver_cu12-11.7.5.82-py3-none-manylinux_2_27_x86_64.whl', 338_117_415, '15da72d1340d29b5b3cf3fd100e3cd53421dde36002eda6ed93811af63c40d88'],
      ['nvidia_cusparse_cu12-12.5.10.65-py3-none-manylinux2014_x86_64.manylinux_2_17_x86_64.whl', 366_465_088, '73060ce019ac064a057267c585bf1fd5a353734151f87472ff02b2c5c9984e78'],
      ['nvidia_nccl_cu12-2.32.3-py3-none-manylinux_2_27_x86_64.whl', 351_526_311, 'bb94b2348e4861d5e8aa00b36c3d12d9bdf9c6369b82cbb723de0b582280a21c'],
      ['nvidia_nvjitlink_cu12-12.9.86-py3-none-manylinux2010_x86_64.manylinux_2_12_x86_64.whl', 39_748_338, 'e3f1171dbdc83c5932a45f0f4c99180a70de9bd2718c1ab77d14104f6d7147f9'],
      ['nvidia_cuda_nvrtc_cu12-12.9.86-py3-none-manylinux2010_x86_64.manylinux_2_12_x86_64.whl', 89_568_129, '210cf05005a447e29214e9ce50851e83fc5f4358df8b453155d5e1918094dcb4'],
      ['nvidia_nvshmem_cu12-3.8.0-py3-none-manylinux2014_x86_64.manylinux_2_17_x86_64.whl', 280_800_183, 'b2e5760d6158aefe7bb74348d5128bb1b46a7dd1fd4b7b1e6fe55b4b07888f70'],
    ],
    'linux-arm64': [
      ['jax_cuda12_pjrt-0.12.0.1-py3-none-manylinux_2_27_aarch64.whl', 185_765_557, 'e6aa6c58c5420c1bda22db31a2f6c5c1d0a66cb701eeb731feae44fef197717c'],
      ['nvidia_cublas_cu12-12.9.3.13-py3-none-manylinux_2_27_aarch64.whl', 574_997_333, '918a8781956115d34b1db49e0e7b7befba8d101661c4b560ed4d42e0e17bebc3'],
      ['nvidia_cuda_cupti_cu12-12.9.79-py3-none-manylinux_2_25_aarch64.whl', 10_077_166, '791853b030602c6a11d08b5578edfb957cadea06e9d3b26adbf8d036135a4afe'],
      ['nvidia_cuda_nvcc_cu12-12.9.86-py3-none-manylinux2014_aarch64.manylinux_2_17_aarch64.whl', 39_411_138, '44e1eca4d08926193a558d2434b1bf83d57b4d5743e0c431c0c83d51da1df62b'],
      ['nvidia_cuda_runtime_cu12-12.9.79-py3-none-manylinux2014_aarch64.manylinux_2_17_aarch64.whl', 3_515_012, '83469a846206f2a733db0c42e223589ab62fd2fabac4432d2f8802de4bded0a4'],
      ['nvidia_cudnn_cu12-9.28.0.42-py3-none-manylinux_2_27_aarch64.whl', 723_261_984, 'f88db8fc1a0a5f458e19aa7b08fbe3500aeb9e2bb8dea6293ecbce170364ad72'],
      ['nvidia_cufft_cu12-11.4.1.4-py3-none-manylinux2014_aarch64.manylinux_2_17_aarch64.whl', 200_822_453, '1a28c9b12260a1aa7a8fd12f5ebd82d027963d635ba82ff39a1acfa7c4c0fbcf'],
      ['nvidia_cusolver_cu12-11.7.5.82-py3-none-manylinux_2_27_aarch64.whl', 337_869_834, '62efa83e4ace59a4c734d052bb72158e888aa7b770e1a5f601682f16fe5b4fd2'],
      ['nvidia_cusparse_cu12-12.5.10.65-py3-none-manylinux2014_aarch64.manylinux_2_17_aarch64.whl', 366_359_408, '221c73e7482dd93eda44e65ce567c031c07e2f93f6fa0ecd3ba876a195023e83'],
      ['nvidia_nccl_cu12-2.32.3-py3-none-manylinux_2_27_aarch64.whl', 351_519_937, '061af42ae1044816820e16b872075e243d1ac0656f51860fbc8e106c257aa83a'],
      ['nvidia_nvjitlink_cu12-12.9.86-py3-none-manylinux2014_aarch64.manylinux_2_17_aarch64.whl', 39_514_880, '994a05ef08ef4b0b299829cde613a424382aff7efb08a7172c1fa616cc3af2ca'],
      ['nvidia_cuda_nvrtc_cu12-12.9.86-py3-none-manylinux2014_aarch64.manylinux_2_17_aarch64.whl', 44_528_905, '096d4de6bda726415dfaf3198d4f5c522b8e70139c97feef5cd2ca6d4cd9cead'],
      ['nvidia_nvshmem_cu12-3.8.0-py3-none-manylinux2014_aarch64.manylinux_2_17_aarch64.whl', 280_599_580, '313ba41c8aacf03f9524ca83ddb2c62e7b3d82f71af815a35e3739f3d64452b2'],
    ],
  },
  cuda13: {
    'linux-x64': [
      ['jax_cuda13_pjrt-0.12.0.1-py3-none-manylinux_2_27_x86_64.whl', 134_922_808, '5899bb6177eda86ea532afb9a26794f2bdd04966f6a01f9028266b16c2b6cf90'],
      ['nvidia_cublas-13.10.0.20-py3-none-manylinux1_x86_64.manylinux_2_5_x86_64.whl', 444_289_903, 'dcc6d63884c53d07e267ce7e6feac17b2538cebaafec5db865736c3e28e4dc84'],
      ['nvidia_cuda_cupti-13.5.25-py3-none-manylinux_2_25_x86_64.whl', 12_592_974, '9dcca41c12a734192b14e7128ae116bc9ce1b9da686e2ebf48ae7a4415f76650'],
      ['nvidia_cuda_nvcc-13.5.37-py3-none-manylinux2014_x86_64.manylinux_2_17_x86_64.whl', 47_028_279, 'f5c4f7ead5d964fb4af42bbf1e6d3ec3c1e6e9d83b53749f691d387e7fcaa3a7'],
      ['nvidia_cuda_runtime-13.5.37-py3-none-manylinux2014_x86_64.manylinux_2_17_x86_64.whl', 2_504_024, 'df2b79a8852f10d1fef8c848489c49eebb5754051bf870202a862831412b179d'],
      ['nvidia_cudnn_cu13-9.28.0.42-py3-none-manylinux_2_27_x86_64.whl', 516_782_127, '7358353c75bb121a58e5f7712fe6d588883dc1df8ba00f428237e44e97543c4d'],
      ['nvidia_cufft-12.5.0.14-py3-none-manylinux2014_x86_64.manylinux_2_17_x86_64.whl', 165_072_555, 'b8be26837a5abad2b5b74f3e92dd29f622a42934b355be0961a48712cbba23ad'],
      ['nvidia_cusolver-12.4.1.2-py3-none-manylinux_2_27_x86_64.whl', 260_003_940, 'b3b8e02fd2f2df869369af075dc3a179d43f6f7b85e94632a7dce556697be044'],
      ['nvidia_cusparse-12.9.4.2-py3-none-manylinux2014_x86_64.manylinux_2_17_x86_64.whl', 230_422_857, '072667e58c851a318738f5527a12eb225cbf058803f2ea451c722d8cf8edddec'],
      ['nvidia_nccl_cu13-2.32.3-py3-none-manylinux_2_27_x86_64.whl', 305_100_071, '1459723080ac889d73a26edfa3e04383a7928ab31ac8f0ec43b3ea9548b04ff3'],
      ['nvidia_nvjitlink-13.5.37-py3-none-manylinux2010_x86_64.manylinux_2_12_x86_64.whl', 46_642_491, '280d7cb9649704145f074b8dbde500de04ce02d0872e066e20a83c17bcaa93eb'],
      ['nvidia_cuda_nvrtc-13.5.37-py3-none-manylinux2010_x86_64.manylinux_2_12_x86_64.whl', 58_185_930, '86b4d68058807988b7d9af5b44917a0601e9c337f35ccd657bfb3c759ff8d8bc'],
      ['nvidia_nvshmem_cu13-3.8.0-py3-none-manylinux2014_x86_64.manylinux_2_17_x86_64.whl', 182_092_449, '81a4d1f666543e6d34df6d2ff940c7da1435e34e186aab6f3c2b48861b64ef38'],
      ['nvidia_nvvm-13.5.37-py3-none-manylinux2010_x86_64.manylinux_2_12_x86_64.whl', 75_141_406, 'c41bfa362e407405163f103c2229f0765f8cc2ed7d148b754dc77f228bf7e070'],
    ],
    'linux-arm64': [
      ['jax_cuda13_pjrt-0.12.0.1-py3-none-manylinux_2_27_aarch64.whl', 128_847_710, '40758d042df8c06991b6a1a8016b56e9cefb1ed4c677c062125c3eb71c3dab97'],
      ['nvidia_cublas-13.10.0.20-py3-none-manylinux2014_aarch64.manylinux_2_17_aarch64.whl', 560_089_875, 'c5f3418c0a845232a8cabc58f6fa52cfae7d8bd3680d94c3907aca710fd48d70'],
      ['nvidia_cuda_cupti-13.5.25-py3-none-manylinux_2_25_aarch64.whl', 12_236_153, 'd7e4d908315461b6ecbdadfd3c403cc796ed218b293ad117568c947e811cff28'],
      ['nvidia_cuda_nvcc-13.5.37-py3-none-manylinux2014_aarch64.manylinux_2_17_aarch64.whl', 40_745_418, '588eda18eb5076ae859fe272844b526459228af22df0b117f54eec3aa82bc9c8'],
      ['nvidia_cuda_runtime-13.5.37-py3-none-manylinux2014_aarch64.manylinux_2_17_aarch64.whl', 2_520_010, 'de2dc5a7367974228b0a69588a9acc9340d3768bef1bf38bf0801eb08497cd2d'],
      ['nvidia_cudnn_cu13-9.28.0.42-py3-none-manylinux_2_27_aarch64.whl', 597_093_622, '97c70c7fe0ea32e97fcd0b40157915d27f0d1e238479e537e81b12ed3c8f17ae'],
      ['nvidia_cufft-12.5.0.14-py3-none-manylinux2014_aarch64.manylinux_2_17_aarch64.whl', 165_074_034, '091cde103312d6e09366122fe3f67092dcfd94cc9785029d695d6bcffaa76fdf'],
      ['nvidia_cusolver-12.4.1.2-py3-none-manylinux_2_27_aarch64.whl', 304_822_178, '1f54c8e0d5b1ebd183b4c5a79f0709fa90241e8254da381ca5b969ee97c8de32'],
      ['nvidia_cusparse-12.9.4.2-py3-none-manylinux2014_aarch64.manylinux_2_17_aarch64.whl', 230_296_529, 'e2ce97f185c9c4b285e4a8fbf02cb96dd1b8dd66736ebe2f0a8da5f6012a4fb7'],
      ['nvidia_nccl_cu13-2.32.3-py3-none-manylinux_2_27_aarch64.whl', 305_107_282, 'a5bee92b2f4af218c109f8d221c3c9adcc752b94ae0ffcb0ed5abf9341a7724c'],
      ['nvidia_nvjitlink-13.5.37-py3-none-manylinux2014_aarch64.manylinux_2_17_aarch64.whl', 45_253_761, '893f6f9a55b2720ed94913b5ba3332e972da8c78dfa2863d0244403dbd528ffc'],
      ['nvidia_cuda_nvrtc-13.5.37-py3-none-manylinux2014_aarch64.manylinux_2_17_aarch64.whl', 56_419_462, '36e4fa2a8ada293f5693d308e531c196ab6f91cf7a0ff479bf96a537d43a6096'],
      ['nvidia_nvshmem_cu13-3.8.0-py3-none-manylinux2014_aarch64.manylinux_2_17_aarch64.whl', 181_881_399, '8120175024f52a64323cfc5d645e95ac7345f1ee243a998d140ce19163285294'],
      ['nvidia_nvvm-13.5.37-py3-none-manylinux2014_aarch64.manylinux_2_17_aarch64.whl', 71_213_582, 'b659bd3115b7ac7ec8931e67d0e2c0dd09cd35b08a6a7372df6f8f22c67da80a'],
    ],
  },
  rocm7: {
    'linux-x64': [
      ['jax_rocm7_pjrt-0.12.0-py3-none-manylinux_2_27_x86_64.whl', 133_415_872, '4551d0714523355f2946ca1958c3f584e95661e467a641d36b726f718a1c7934'],
    ],
  },
};
